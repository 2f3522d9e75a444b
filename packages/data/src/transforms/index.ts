/** What happens to conversations between reading and rendering. */
export { applyTransforms } from './apply.js';
export type { TransformedSource } from './apply.js';
export { createDecontaminateTransform } from './decontaminate/transform.js';
export { createDeduplicateTransform } from './duplicates/transform.js';
export { findLeaks, leakageError } from './duplicates/leakage.js';
export type { Leak, LeakFindings } from './duplicates/leakage.js';
export { createNormalizeTransform, normalizeText } from './normalize/transform.js';
export { createQualityTransform } from './quality/transform.js';
export { judgeQuality } from './quality/checks.js';
export { createRedactTransform, redactText } from './redact/transform.js';
export { detectPersonalData } from './redact/detectors.js';
export { createTopicTransform } from './topics/transform.js';
export { createTransform } from './transform-log.js';
export type { ReportingTransform, TransformLog, Visit } from './transform-log.js';
