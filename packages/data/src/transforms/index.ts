/** What happens to conversations between reading and rendering. */
import { decontaminatePlugin } from './decontaminate.js';
import { deduplicatePlugin } from './duplicates/plugin.js';
import { normalizeTextPlugin } from './normalize/plugin.js';
import { qualityFilterPlugin } from './quality/plugin.js';
import { redactPlugin } from './redact/plugin.js';

export { applyTransforms } from './apply.js';
export type { TransformedSource } from './apply.js';
export { createDecontaminateTransform } from './decontaminate.js';
export { createDeduplicateTransform } from './duplicates/plugin.js';
export { findLeaks, leakageError } from './duplicates/leakage.js';
export type { Leak } from './duplicates/leakage.js';
export { createNormalizeTransform, normalizeText } from './normalize/plugin.js';
export { createQualityTransform } from './quality/plugin.js';
export { judgeQuality } from './quality/checks.js';
export { createRedactTransform, redactText } from './redact/plugin.js';
export { detectPersonalData, PERSONAL_DATA_KINDS } from './redact/detectors.js';
export { createTransform } from './transform-log.js';
export type { ReportingTransform, TransformLog, Visit } from './transform-log.js';

export const transformPlugins = [normalizeTextPlugin, qualityFilterPlugin, redactPlugin, deduplicatePlugin, decontaminatePlugin] as const;
