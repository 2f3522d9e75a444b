import type { TransformReport } from '@whetstone/core/contract';
import type { BatchSourceSummary } from './summary.js';

const list = (counts: Readonly<Partial<Record<string, number>>>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ');

/** What was read, changed, left out and why, in lines for people. Nothing is left out without being named here. */
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
      `(${share.toFixed(1)} %) are supervised`,
  ];
  if (unreadable.length > 0) {
    const { origin, reason } = unreadable[0] as (typeof unreadable)[number];
    lines.push(
      `${unreadable.length} rows cannot be read and are left out; the first: ` +
        `${origin.file ?? 'row'}:${origin.line ?? origin.index + 1}: ${reason}`,
    );
  }
  if (truncated > 0) lines.push(`${truncated} conversations are longer than is kept and were cut`);
  if (withoutTargets > 0)
    lines.push(`${withoutTargets} conversations have nothing to learn from (${list(withoutTargetsByCause)})`);
  if (summary.groups) {
    const draws = summary.groups.map(
      (group) => `${group.drawn} of ${group.samples} ${group.name || 'without a group'}`,
    );
    lines.push(`an epoch draws ${draws.join(', ')}`);
  }
  for (const { name, conversationsIn, conversationsOut, removed, changed } of reports) {
    const parts = [`${conversationsIn} in, ${conversationsOut} out`];
    if (Object.keys(removed).length > 0) parts.push(`removed ${list(removed)}`);
    if (Object.keys(changed).length > 0) parts.push(`changed ${list(changed)}`);
    lines.push(`${name}: ${parts.join('; ')}`);
  }
  return lines;
}
