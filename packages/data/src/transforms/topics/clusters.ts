import { kmeans } from 'ml-kmeans';
import type { Conversation } from '@whetstone/core/contract';
import { textOf } from '../../examples/message-text.js';
import { termsOf } from '../../report/terms.js';
import { hashText } from '../duplicates/fingerprint.js';

/** The number of occurrences of each term in a conversation. */
export type TermCounts = ReadonlyMap<string, number>;

/** Groups of conversations with words in common. */
export interface TopicClusters {
  /** The name of each cluster: its most distinctive words. */
  readonly names: readonly string[];
  /** The cluster of each document. */
  readonly members: readonly number[];
  /** Returns the cluster nearest to another document. */
  nearest(terms: TermCounts): number;
}

const DIMENSIONS = 128;
/** The least documents to cluster. */
const FEWEST = 20;
const TELLING_TERMS = 4;

export function termCounts({ messages }: Pick<Conversation, 'messages'>): TermCounts {
  const counts = new Map<string, number>();
  for (const term of termsOf(messages.map((message) => textOf(message)).join('\n')))
    counts.set(term, (counts.get(term) ?? 0) + 1);
  return counts;
}

/** Returns the TF-IDF weights of a document's terms, hashed with signs into a vector of length 1. */
function vectorOf(terms: TermCounts, inverseFrequency: (term: string) => number): number[] {
  const vector = Array.from({ length: DIMENSIONS }, () => 0);
  for (const [term, count] of terms) {
    const hash = hashText(term);
    const dimension = hash % DIMENSIONS;
    vector[dimension] =
      (vector[dimension] ?? 0) + (1 + Math.log(count)) * inverseFrequency(term) * ((hash % 2097143) & 1 ? 1 : -1);
  }
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}

const squaredDistance = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, index) => sum + (value - (b[index] ?? 0)) ** 2, 0);

/** Returns the default number of clusters for a number of documents. */
export const usualCount = (documents: number): number =>
  Math.min(10, Math.max(2, Math.round(Math.sqrt(documents / 20))));

/** Returns the terms that are much more frequent in a cluster than in all documents. */
function nameOf(members: readonly TermCounts[], frequency: ReadonlyMap<string, number>, documents: number): string {
  const inside = new Map<string, number>();
  for (const terms of members) for (const term of terms.keys()) inside.set(term, (inside.get(term) ?? 0) + 1);
  const telling = [...inside]
    .filter(([, count]) => count > 1)
    .map(([term, count]) => ({
      term,
      weight:
        (count / members.length) * Math.log((count / members.length + 1e-9) / ((frequency.get(term) ?? 1) / documents)),
    }))
    .sort((a, b) => b.weight - a.weight)
    .slice(0, TELLING_TERMS);
  return telling.map(({ term }) => term).join(', ') || 'various';
}

/**
 * Clusters documents by their terms, deterministically (k-means of hashed TF-IDF vectors); null for too few documents.
 */
export function clusterTopics(
  documents: readonly TermCounts[],
  count = usualCount(documents.length),
): TopicClusters | null {
  if (documents.length < Math.max(FEWEST, count)) return null;
  const frequency = new Map<string, number>();
  for (const terms of documents) for (const term of terms.keys()) frequency.set(term, (frequency.get(term) ?? 0) + 1);
  const inverse = (term: string): number => Math.log(documents.length / (frequency.get(term) ?? 1)) + 0.1;
  const { clusters: members, centroids } = kmeans(
    documents.map((terms) => vectorOf(terms, inverse)),
    count,
    { seed: 1, maxIterations: 30 },
  );
  const seen = new Map<string, number>();
  const names = centroids.map((_, cluster) => {
    const name = nameOf(
      documents.filter((_document, index) => members[index] === cluster),
      frequency,
      documents.length,
    );
    const before = seen.get(name) ?? 0;
    seen.set(name, before + 1);
    return before === 0 ? name : `${name} (${before + 1})`;
  });
  return {
    names,
    members,
    nearest(terms) {
      const vector = vectorOf(terms, inverse);
      let [best, least] = [0, Infinity];
      for (const [cluster, centroid] of centroids.entries()) {
        const distance = squaredDistance(vector, centroid);
        if (distance < least) [best, least] = [cluster, distance];
      }
      return best;
    },
  };
}
