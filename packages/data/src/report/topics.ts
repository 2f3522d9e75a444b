import type { Conversation } from '@whetstone/core/contract';
import { clusterTopics, topicDocument } from '../transforms/topics/clusters.js';

interface Topic {
  readonly name: string;
  readonly conversations: number;
}

export interface Topics {
  /** Whether topics are from a column of the data, or found by clustering. */
  readonly from: 'column' | 'clusters';
  readonly topics: readonly Topic[];
  /** Normalized entropy of the topics' shares: 1 for equal shares, near 0 if one topic has almost all conversations. */
  readonly balance: number;
}

/** Number of conversations that are clustered, drawn at random. */
export const TOPIC_SAMPLE = 2000;
const COLUMNS = ['topic', 'category', 'intent', 'domain'];

/** Returns a conversation's topic from a column of the data, or null. */
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

/** Clusters a sample of conversations. */
function clustersOf(sample: readonly Conversation[]): Topic[] {
  const found = clusterTopics(sample.map(topicDocument));
  return found === null
    ? []
    : found.names
        .map((name, cluster) => ({ name, conversations: found.members.filter((member) => member === cluster).length }))
        .filter(({ conversations }) => conversations > 0);
}

/**
 * Returns the topics from a column (`topic`, `category`, …) if most conversations have one, otherwise by clustering a
 * sample.
 *
 * @param conversations number of all conversations
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
