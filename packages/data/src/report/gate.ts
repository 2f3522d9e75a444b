import { qualityGateSchema, WhetstoneError, type QualityGate } from '@whetstone/core/contract';
import type { DataReport } from './data-report.js';
import { isRecord } from '@whetstone/core/util';

export type { QualityGate };

/** The result of a rule: its limit and the measured value. */
export interface GateResult {
  readonly rule: keyof QualityGate;
  readonly limit: number;
  readonly value: number;
  readonly passed: boolean;
}

/** Every rule of a gate. */
const RULES = Object.keys(qualityGateSchema.properties);

/**
 * Validates a quality gate.
 *
 * @throws `CONFIG_INVALID` if it has an unknown rule, an invalid limit, or no rule
 */
export function readGate(value: unknown): QualityGate {
  const isObject = isRecord(value);
  const problems = (isObject ? Object.entries(value) : []).flatMap(([rule, limit]) => {
    if (!RULES.includes(rule)) return [{ message: `The rule "${rule}" does not exist.` }];
    return typeof limit === 'number' && Number.isFinite(limit) && limit >= 0
      ? []
      : [{ message: `The limit of "${rule}" is not a number of at least 0.`, found: JSON.stringify(limit) }];
  });
  if (isObject && problems.length === 0 && Object.keys(value).length > 0) return value as QualityGate;
  throw new WhetstoneError('CONFIG_INVALID', 'The quality gate is invalid.', {
    expected: `an object with at least one of ${RULES.join(', ')}`,
    problems,
  });
}

/** Checks a report against a gate. Rules about tokens are skipped if the report has no tokens. */
export function checkGate(report: DataReport, gate: QualityGate): GateResult[] {
  const share = (count: number): number => count / Math.max(1, report.conversations);
  const values: Readonly<Record<keyof QualityGate, number | null>> = {
    minConversations: report.conversations,
    minMeanScore: report.scores.mean,
    maxDuplicates: share(report.duplicates.exact + report.duplicates.near),
    maxUnreadable: report.unreadable.count / Math.max(1, report.unreadable.count + report.conversations),
    maxSuspects: share(report.suspects.count),
    maxTruncated: report.tokens && share(report.tokens.truncated),
    minSupervised: report.tokens && report.tokens.supervised / Math.max(1, report.tokens.total),
    minTopicBalance: report.topics.balance,
  };
  return (Object.keys(values) as (keyof QualityGate)[]).flatMap((rule) => {
    const [limit, value] = [gate[rule], values[rule]];
    if (limit === undefined || value === null) return [];
    return [{ rule, limit, value, passed: rule.startsWith('min') ? value >= limit : value <= limit }];
  });
}

/**
 * Checks a report against a gate.
 *
 * @throws `DATA_QUALITY` with all rules that the data violates
 */
export function enforceGate(report: DataReport, gate: QualityGate): void {
  const failed = checkGate(report, gate).filter(({ passed }) => !passed);
  if (failed.length === 0) return;
  throw new WhetstoneError('DATA_QUALITY', `The data violates ${failed.length} of its quality rules.`, {
    place: report.files[0] === undefined ? undefined : { file: report.files[0] },
    problems: failed.map(({ rule, limit, value }) => ({
      message: rule,
      expected: `${rule.startsWith('min') ? 'at least' : 'at most'} ${limit}`,
      found: String(Number(value.toPrecision(4))),
    })),
    hint: 'Clean the data (transforms normalize-text, quality-filter, deduplicate), or change the gate.',
  });
}
