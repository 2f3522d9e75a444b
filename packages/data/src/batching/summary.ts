import type { DataSummary, TransformReport, TurnCounts } from '@whetstone/core/contract';
import { counted } from '@whetstone/core/util';
import type { GroupShare } from './balance.js';
import type { NothingToLearnCause } from '../examples/tokenize.js';

/** The summary of the contract with further counts. */
export interface BatchSourceSummary extends DataSummary {
  /** Samples in the data: conversations without those that are skipped because they have no target tokens. */
  readonly samples: number;
  /** Samples without target tokens, by cause. */
  readonly withoutTargetsByCause: Readonly<Partial<Record<NothingToLearnCause, number>>>;
  /** Tokens of the longest sample. */
  readonly longest: number;
  readonly turns: TurnCounts;
  /** The size of each group, if there is a balance. */
  readonly groups?: readonly GroupShare[];
}

/** A name from the data, which may contain the separator of a list. */
const listed = (name: string): string => (/[,;"]/.test(name) ? JSON.stringify(name) : name);

const list = (counts: Readonly<Partial<Record<string, number>>>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${count} ${listed(name)}`)
    .join(', ');

/** Describes what was read, changed and dropped, and why, in lines for the log. Everything dropped is listed. */
export function describeSummary(summary: BatchSourceSummary, reports: readonly TransformReport[] = []): string[] {
  const {
    conversations,
    samples,
    tokens,
    supervisedTokens,
    unreadable,
    truncated,
    withoutTargets,
    withoutTargetsByCause,
  } = summary;
  const share = tokens === 0 ? 0 : (100 * supervisedTokens) / tokens;
  const lines = [
    `${samples} of ${conversations} conversations, ${tokens} tokens, of which ${supervisedTokens} ` +
      `(${share.toFixed(1)} %) are target tokens`,
  ];
  if (unreadable.length > 0) {
    const { origin, reason } = unreadable[0] as (typeof unreadable)[number];
    lines.push(
      `${counted(unreadable.length, 'row cannot be read and is', 'rows cannot be read and are')} skipped; the first: ` +
        `${origin.file ?? 'row'}:${origin.line ?? origin.index + 1}: ${reason}`,
    );
  }
  if (truncated > 0)
    lines.push(
      `${counted(truncated, 'conversation is', 'conversations are')} longer than maxLength and ` +
        `${truncated === 1 ? 'was' : 'were'} truncated`,
    );
  if (withoutTargets > 0)
    lines.push(
      `${counted(withoutTargets, 'conversation has', 'conversations have')} no target tokens ` +
        `(${list(withoutTargetsByCause)})`,
    );
  if (summary.groups) {
    const draws = summary.groups.map(
      (group) => `${group.drawn} of ${group.samples} ${listed(group.name) || 'without a group'}`,
    );
    lines.push(`an epoch draws ${draws.join(', ')}`);
  }
  for (const { name, conversationsIn, conversationsOut, removed, changed } of reports) {
    const counts = [`${conversationsIn} in, ${conversationsOut} out`];
    if (Object.keys(removed).length > 0) counts.push(`removed ${list(removed)}`);
    if (Object.keys(changed).length > 0) counts.push(`changed ${list(changed)}`);
    lines.push(`${name}: ${counts.join('; ')}`);
  }
  return lines;
}
