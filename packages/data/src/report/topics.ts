import type { Conversation } from '@whetstone/core/contract';
import { clusterTopics, termCounts } from '../transforms/topics/clusters.js';

interface Topic {
  readonly name: string;
  readonly conversations: number;
}

export interface Topics {
  /** From a column of the data, or found by clustering. */
  readonly from: 'column' | 'clusters';
  readonly topics: readonly Topic[];
  /** Entropy of the topics' shares over that of equal shares: 1 where they are even, towards 0 where one has it all. */
  readonly balance: number;
}

/** Conversations that are clustered: a fair sample of all. */
export const TOPIC_SAMPLE = 2000;
const COLUMNS = ['topic', 'category', 'intent', 'domain'];

/** What the data itself says of a conversation's topic, or null. */
export function topicColumnOf({ columns }: Conversation): string | null {
  const column = COLUMNS.find((name) => typeof columns?.[name] === 'string');
  return column === undefined ? null : String(columns?.[column]);
}

export function balanceOf(counts: readonly number[]): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (counts.length < 2 || total === 0) return counts.length === 1 ? 0 : 1;
  const entropy = counts.reduce(
    (sum, count) => (count === 0 ? sum : sum - (count / total) * Math.log(count / total)),
    0,
  );
  return entropy / Math.log(counts.length);
}

/** Topics of a sample by clustering. */
function clustersOf(sample: readonly Conversation[]): Topic[] {
  const found = clusterTopics(sample.map(termCounts));
  return found === null
    ? []
    : found.names
        .map((name, cluster) => ({ name, conversations: found.members.filter((member) => member === cluster).length }))
        .filter(({ conversations }) => conversations > 0);
}

/**
 * Topics by a column where the data has one (`topic`, `category`, …), else by clustering a sample of the conversations.
 *
 * @param conversations how many there are in all
 */
export function topicsOf(
  byColumn: ReadonlyMap<string, number>,
  sample: readonly Conversation[],
  conversations: number,
): Topics {
  const counted = [...byColumn];
  const fromColumn = counted.reduce((sum, [, count]) => sum + count, 0) > conversations / 2;
  const topics = fromColumn
    ? counted.map(([name, count]) => ({ name, conversations: count }))
    : clustersOf(sample).map(({ name, conversations: count }) => ({
        name,
        conversations: Math.round((count / sample.length) * conversations),
      }));
  topics.sort((a, b) => b.conversations - a.conversations);
  return {
    from: fromColumn ? 'column' : 'clusters',
    topics,
    balance: balanceOf(topics.map((topic) => topic.conversations)),
  };
}
