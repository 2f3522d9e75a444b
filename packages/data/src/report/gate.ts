import { qualityGateSchema, WhetstoneError, type QualityGate } from '@whetstone/core/contract';
import { formatOrigin } from '../sources/origins.js';
import type { DataReport } from './data-report.js';
import type { SuspectReason } from './suspects.js';
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

/** What removes each kind of suspect. */
const REMEDIES: Readonly<Record<SuspectReason, string>> = {
  contradiction:
    'Different answers to the same question: {"use": "deduplicate", "options": {"part": "prompt", "near": false}} in ' +
    'data.transforms keeps the first one.',
  'role-order': 'Wrong orders of roles: "quality-filter" in data.transforms removes them.',
  language:
    'Answers in another language than the questions: {"use": "quality-filter", "options": {"sameLanguage": true}} in ' +
    'data.transforms removes them.',
  'outlying-loss': 'Outlying losses: no transform removes them. Review these rows, and correct or delete them.',
};

/** Returns what removes the suspects of a report, for each kind that it has, the most frequent first. */
export function suspectRemedies(reasons: DataReport['suspects']['reasons']): string[] {
  const counts = Object.entries(reasons) as [SuspectReason, number][];
  return counts.sort(([, a], [, b]) => b - a).map(([reason, count]) => `${count} × ${REMEDIES[reason]}`);
}

/** Begins a further line of a hint, below its first one. */
const HINT_LINE = '\n              ';

/** Returns what makes data satisfy a rule, one line each. */
function remediesOf(rule: keyof QualityGate, report: DataReport): readonly string[] {
  return rule === 'maxSuspects' ? suspectRemedies(report.suspects.reasons) : [remedyOf(rule, report)];
}

function remedyOf(rule: Exclude<keyof QualityGate, 'maxSuspects'>, { duplicates }: DataReport): string {
  switch (rule) {
    case 'minConversations':
      return 'Add data, or remove less of it in data.transforms.';
    case 'minMeanScore':
      return 'Correct or remove the rows with the lowest scores. "quality-filter" removes those that fail its limits.';
    case 'maxDuplicates':
      return duplicates.near === 0
        ? 'Add "deduplicate" to data.transforms.'
        : 'Add "deduplicate" to data.transforms. Its option "near" must be true, as there are near duplicates.';
    case 'maxUnreadable':
      return 'Correct or delete these rows. No transform reads them.';
    case 'maxTruncated':
      return 'Raise data.maxLength, or set "maxCharacters" of "quality-filter".';
    case 'minSupervised':
      return 'Train more turns (data.rolesToTrain, data.lastTurnOnly), or leave out prompts that are long.';
    case 'minTopicBalance':
      return 'Add conversations of the small topics, or remove some of the large ones. data.balance does not count.';
  }
}

/** The samples of a list that an error shows. */
const SHOWN = 5;

/** Returns the first rows that violate a rule, each with its place and text. */
function rowsOf(rule: keyof QualityGate, { suspects, duplicates, unreadable, worst }: DataReport): readonly string[] {
  switch (rule) {
    case 'maxSuspects':
      return suspects.first.map(
        ({ origin, reason, detail, preview }) => `${formatOrigin(origin)}: ${reason}: ${preview} (${detail})`,
      );
    case 'maxDuplicates':
      return duplicates.first.map(({ origin, detail, preview }) => `${formatOrigin(origin)}: ${preview} (${detail})`);
    case 'maxUnreadable':
      return unreadable.first.map(({ origin, reason }) => `${formatOrigin(origin)}: ${reason}`);
    case 'minMeanScore':
      return worst.map(({ origin, score, preview }) => `${formatOrigin(origin)}: score ${score.total}: ${preview}`);
    default:
      return [];
  }
}

/**
 * Checks a report against a gate.
 *
 * @throws `DATA_QUALITY` with all rules that the data violates, the first rows that cause it, and what removes them
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
      hint: [...remediesOf(rule, report), ...rowsOf(rule, report).slice(0, SHOWN)].join(HINT_LINE),
    })),
    hint: 'Follow the hint of each rule, or change the gate. The data report lists more of these rows.',
    details: { rows: Object.fromEntries(failed.map(({ rule }) => [rule, rowsOf(rule, report)])) },
  });
}
