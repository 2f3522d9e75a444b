import { createTransform, recipeOf, type ReportingTransform } from '../transform-log.js';
import { defaultQualityOptions, judgeQuality, type QualityOptions } from './checks.js';

/** A transform that takes out conversations of low quality, each with its reason. */
export function createQualityTransform(options: Partial<QualityOptions> = {}): ReportingTransform {
  const all = { ...defaultQualityOptions, ...options };
  return createTransform(
    'quality-filter',
    () => (conversation, log) => {
      const finding = judgeQuality(conversation, all);
      if (!finding) return conversation;
      log.remove(conversation, finding.reason, finding.detail);
      return null;
    },
    recipeOf('quality-filter', all, '.'),
  );
}
