import { defaultsOf } from '@whetstone/core/contract';
import { createTransform, recipeOf, type ReportingTransform } from '../transform-log.js';
import { checkQuality } from './checks.js';
import { qualitySchema, type QualityOptions } from './options.js';

/** Creates a transform that removes conversations of low quality, with the reason. */
export function createQualityTransform(options: Partial<QualityOptions> = {}): ReportingTransform {
  const all = { ...defaultsOf(qualitySchema), ...options };
  return createTransform(
    'quality-filter',
    () => (conversation, log) => {
      const finding = checkQuality(conversation, all);
      if (!finding) return conversation;
      log.remove(conversation, finding.reason, finding.detail);
      return null;
    },
    recipeOf('quality-filter', all, '.'),
  );
}
