import { kmeans } from 'ml-kmeans';
import type { Conversation } from '@whetstone/core/contract';
import { textOf } from '../../examples/message-text.js';
import { termsOf } from '../../report/terms.js';
import { hashText } from '../duplicates/fingerprint.js';
import { scriptOf } from './script.js';

/** A conversation as it is clustered. */
export interface TopicDocument {
  /** The number of occurrences of each term. */
  readonly terms: ReadonlyMap<string, number>;
  /** The script of the text; documents in different scripts are never in one cluster. */
  readonly script: string;
}

type TermCounts = TopicDocument['terms'];

/** Groups of conversations with words in common. */
export interface TopicClusters {
  /** The name of each cluster: its most distinctive words, separated by spaces. */
  readonly names: readonly string[];
  /** The cluster of each document. */
  readonly members: readonly number[];
  /** Returns the cluster nearest to another document; -1 if there is none in its script. */
  nearest(document: TopicDocument): number;
}

const DIMENSIONS = 128;
/** Random starts of a clustering. */
const STARTS = 8;
/** The least documents to cluster. */
const FEWEST = 20;
const TELLING_TERMS = 4;

/** Returns a conversation as a document to cluster. */
export function topicDocument({ messages }: Pick<Conversation, 'messages'>): TopicDocument {
  const text = messages.map((message) => textOf(message)).join('\n');
  const terms = new Map<string, number>();
  for (const term of termsOf(text)) terms.set(term, (terms.get(term) ?? 0) + 1);
  return { terms, script: scriptOf(text) };
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
  return telling.map(({ term }) => term).join(' ') || 'various';
}

/** Distributes a number of clusters among groups in proportion to their sizes; each group has at least one. */
function shareOut(count: number, sizes: readonly number[]): number[] {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const shares = sizes.map((size) => 1 + Math.max(0, Math.floor((count * size) / total) - 1));
  for (let left = count - shares.reduce((sum, share) => sum + share, 0); left > 0; left--) {
    // The next cluster goes to the group with the most documents in each of its clusters.
    const largest = sizes
      .map((size, index) => size / (shares[index] ?? 1))
      .reduce((best, load, index, loads) => (load > (loads[best] ?? 0) ? index : best), 0);
    shares[largest] = (shares[largest] ?? 0) + 1;
  }
  return shares.map((share, index) => Math.min(share, sizes[index] ?? 1));
}

interface ScriptClusters {
  readonly names: readonly string[];
  readonly members: readonly number[];
  nearest(terms: TermCounts): number;
}

/** Clusters vectors from several random starts. Returns the clusters whose vectors are nearest to their centres. */
function bestClusters(vectors: readonly number[][], count: number): ReturnType<typeof kmeans> {
  const attempts = Array.from({ length: STARTS }, (_, start) => {
    const found = kmeans([...vectors], count, { seed: start + 1, maxIterations: 30 });
    const distance = vectors.reduce(
      (sum, vector, index) => sum + squaredDistance(vector, found.centroids[found.clusters[index] ?? 0] ?? []),
      0,
    );
    return { found, distance };
  });
  return attempts.reduce((best, attempt) => (attempt.distance < best.distance ? attempt : best)).found;
}

/** Clusters documents of one script (k-means of hashed TF-IDF vectors). */
function clusterScript(documents: readonly TermCounts[], count: number): ScriptClusters {
  const frequency = new Map<string, number>();
  for (const terms of documents) for (const term of terms.keys()) frequency.set(term, (frequency.get(term) ?? 0) + 1);
  const inverse = (term: string): number => Math.log(documents.length / (frequency.get(term) ?? 1)) + 0.1;
  if (count === 1) return { names: [commonTerms(documents)], members: documents.map(() => 0), nearest: () => 0 };
  const { clusters: members, centroids } = bestClusters(
    documents.map((terms) => vectorOf(terms, inverse)),
    count,
  );
  return {
    names: centroids.map((_, cluster) =>
      nameOf(
        documents.filter((_document, index) => members[index] === cluster),
        frequency,
        documents.length,
      ),
    ),
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

/** Returns the terms of most documents, as the name of the only cluster. */
function commonTerms(documents: readonly TermCounts[]): string {
  const inside = new Map<string, number>();
  for (const terms of documents) for (const term of terms.keys()) inside.set(term, (inside.get(term) ?? 0) + 1);
  const telling = [...inside]
    .filter(([, count]) => count > 1)
    .sort(([, one], [, other]) => other - one)
    .slice(0, TELLING_TERMS);
  return telling.map(([term]) => term).join(' ') || 'various';
}

/**
 * Clusters documents by their terms, deterministically; null for too few documents. Documents in different scripts are
 * clustered separately, so that there are at least as many clusters as scripts.
 */
export function clusterTopics(
  documents: readonly TopicDocument[],
  count = usualCount(documents.length),
): TopicClusters | null {
  if (documents.length < Math.max(FEWEST, count)) return null;
  const scripts = [...new Set(documents.map(({ script }) => script))].sort();
  const numbersOf = scripts.map((script) =>
    documents.flatMap((document, number) => (document.script === script ? [number] : [])),
  );
  const shares = shareOut(
    count,
    numbersOf.map(({ length }) => length),
  );
  const names: string[] = [];
  const members = Array.from({ length: documents.length }, () => 0);
  const nearest = new Map<string, (terms: TermCounts) => number>();
  for (const [index, script] of scripts.entries()) {
    const numbers = numbersOf[index] ?? [];
    const first = names.length;
    const clusters = clusterScript(
      numbers.flatMap((number) => documents[number]?.terms ?? []),
      shares[index] ?? 1,
    );
    for (const [at, number] of numbers.entries()) members[number] = first + (clusters.members[at] ?? 0);
    names.push(...clusters.names);
    nearest.set(script, (terms) => first + clusters.nearest(terms));
  }
  return {
    names: distinct(names),
    members,
    nearest: ({ terms, script }) => nearest.get(script)?.(terms) ?? -1,
  };
}

/** Numbers equal names. */
function distinct(names: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return names.map((name) => {
    const before = seen.get(name) ?? 0;
    seen.set(name, before + 1);
    return before === 0 ? name : `${name} (${before + 1})`;
  });
}
