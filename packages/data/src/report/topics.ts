import { kmeans } from 'ml-kmeans';
import type { Conversation } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import { createReservoir } from './reservoir.js';
import { hashText } from '../transforms/duplicates/fingerprint.js';
import { termsOf } from './terms.js';

export interface Topic {
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
const SAMPLE = 2000;
const DIMENSIONS = 128;
const COLUMNS = ['topic', 'category', 'intent', 'domain'];

export function balanceOf(counts: readonly number[]): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (counts.length < 2 || total === 0) return counts.length === 1 ? 0 : 1;
  const entropy = counts.reduce((sum, count) => (count === 0 ? sum : sum - (count / total) * Math.log(count / total)), 0);
  return entropy / Math.log(counts.length);
}

export interface TopicCounter {
  add(conversation: Conversation): void;
  result(): Topics;
}

/** Weights of a document's terms, hashed into a fixed number of places with signs, and scaled to length 1. */
function vectorOf(terms: ReadonlyMap<string, number>, inverseFrequency: (term: string) => number): number[] {
  const vector = Array.from({ length: DIMENSIONS }, () => 0);
  for (const [term, count] of terms) {
    const hash = hashText(term);
    const place = hash % DIMENSIONS;
    vector[place] = (vector[place] ?? 0) + (1 + Math.log(count)) * inverseFrequency(term) * (hash % 2097143 & 1 ? 1 : -1);
  }
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}

/** Clusters documents by their terms, and names each cluster by the terms that set it apart. */
function clusters(documents: readonly ReadonlyMap<string, number>[]): Topic[] {
  const frequency = new Map<string, number>();
  for (const terms of documents) for (const term of terms.keys()) frequency.set(term, (frequency.get(term) ?? 0) + 1);
  const inverse = (term: string): number => Math.log(documents.length / (frequency.get(term) ?? 1)) + 0.1;
  const number = Math.min(10, Math.max(2, Math.round(Math.sqrt(documents.length / 20))));
  if (documents.length < 20) return [];
  const { clusters: found } = kmeans(documents.map((terms) => vectorOf(terms, inverse)), number, { seed: 1, maxIterations: 30 });
  return Array.from({ length: number }, (_, cluster) => {
    const members = documents.filter((_document, index) => found[index] === cluster);
    const inside = new Map<string, number>();
    for (const terms of members) for (const term of terms.keys()) inside.set(term, (inside.get(term) ?? 0) + 1);
    const telling = [...inside]
      .filter(([, count]) => count > 1)
      .map(([term, count]) => ({ term, weight: (count / members.length) * Math.log((count / members.length + 1e-9) / ((frequency.get(term) ?? 1) / documents.length)) }))
      .sort((a, b) => b.weight - a.weight)
      .slice(0, 4);
    return { name: telling.map(({ term }) => term).join(', ') || 'various', conversations: members.length };
  }).filter(({ conversations }) => conversations > 0);
}

function termCounts({ messages }: Conversation): Map<string, number> {
  const counts = new Map<string, number>();
  for (const term of termsOf(messages.map((message) => textOf(message)).join('\n'))) counts.set(term, (counts.get(term) ?? 0) + 1);
  return counts;
}

/** Counts topics by a column where the data has one (`topic`, `category`, …), else by clustering a sample of the conversations. */
export function createTopicCounter(seed = 0): TopicCounter {
  const byColumn = new Map<string, number>();
  const drawn = createReservoir<Conversation>(SAMPLE, 'topics', seed);
  let conversations = 0;
  return {
    add(conversation) {
      conversations++;
      const column = COLUMNS.find((name) => typeof conversation.columns?.[name] === 'string');
      if (column !== undefined) {
        const topic = String(conversation.columns?.[column]);
        byColumn.set(topic, (byColumn.get(topic) ?? 0) + 1);
      }
      drawn.add(conversation);
    },
    result() {
      const fromColumn = [...byColumn.values()].reduce((sum, count) => sum + count, 0) > conversations / 2;
      const topics = fromColumn
        ? [...byColumn].map(([name, count]) => ({ name, conversations: count }))
        : clusters(drawn.sample.map(termCounts)).map(({ name, conversations: count }) => ({ name, conversations: Math.round((count / drawn.sample.length) * conversations) }));
      topics.sort((a, b) => b.conversations - a.conversations);
      return { from: fromColumn ? 'column' : 'clusters', topics, balance: balanceOf(topics.map((topic) => topic.conversations)) };
    },
  };
}
