import { statSync } from 'node:fs';
import type {
  ChatRenderer,
  DataTransform,
  Json,
  Tokenizer,
  TransformOrigin,
  TransformReport,
} from '@whetstone/core/contract';
import type { BatchOptions } from '../batching/options.js';
import { hashFile } from '../reading/hash-file.js';
import type { BatchSourceSummary } from '../batching/summary.js';
import { isRecord } from '@whetstone/core/util';

/** The version of the format of {@link DataManifest}; see docs/versioning.md. */
export const DATA_MANIFEST_VERSION = 1;

/** What a data set was made of, and what happened to it: plain data, to be kept with whatever was trained on it. */
export interface DataManifest {
  readonly format: typeof DATA_MANIFEST_VERSION;
  /** Hash of the conversations that were learned from: two manifests with the same one stand for the same data. */
  readonly contentHash: string;
  readonly sources: readonly { readonly file: string; readonly bytes: number; readonly sha256: string }[];
  /** What was done, in order: with the version and options of those that say them, and what came in and went out. */
  readonly transforms: readonly (Omit<TransformReport, 'removals'> & {
    readonly version: Json;
    readonly options: Json;
  })[];
  readonly counts: {
    readonly conversations: number;
    readonly unreadable: number;
    readonly truncated: number;
    readonly withoutTargets: number;
    readonly samples: number;
    readonly tokens: number;
    readonly supervisedTokens: number;
  };
  readonly templateHash: string;
  readonly tokenizerHash: string | null;
  /** How conversations became batches, the seed included. */
  readonly options: BatchOptions;
}

export interface ManifestInputs {
  readonly summary: BatchSourceSummary;
  readonly reports: readonly TransformReport[];
  /** The transforms that the reports are of. */
  readonly transforms?: readonly DataTransform[];
  /** What each of them was made from, where it does not say so itself. */
  readonly origins?: readonly (TransformOrigin | undefined)[];
  readonly options: BatchOptions;
  readonly renderer: ChatRenderer;
  readonly tokenizer: Tokenizer;
}

async function describeFile(file: string): Promise<DataManifest['sources'][number]> {
  return { file, bytes: statSync(file).size, sha256: await hashFile(file) };
}

/** The manifest of a data set that was read: hashes every file. */
export async function createManifest({
  summary,
  reports,
  transforms = [],
  origins = [],
  options,
  renderer,
  tokenizer,
}: ManifestInputs): Promise<DataManifest> {
  const { contentHash, conversations, unreadable, truncated, withoutTargets, samples, tokens, supervisedTokens } =
    summary;
  const described = transforms.flatMap((transform, index) =>
    transform.report === undefined ? [] : [transform.recipe?.argument ?? origins[index] ?? {}],
  );
  const sources: DataManifest['sources'][number][] = [];
  // Sources need not be files: what is none is named without a hash.
  for (const file of summary.files)
    sources.push(
      statSync(file, { throwIfNoEntry: false })?.isFile() ? await describeFile(file) : { file, bytes: 0, sha256: '' },
    );
  return {
    format: DATA_MANIFEST_VERSION,
    contentHash,
    sources,
    transforms: reports.map(({ name, conversationsIn, conversationsOut, removed, changed }, index) => {
      const { version = null, options: given = null } = (described[index] ?? {}) as {
        readonly version?: Json;
        readonly options?: Json;
      };
      return {
        name,
        version,
        options: given,
        conversationsIn,
        conversationsOut,
        removed: { ...removed },
        changed: { ...changed },
      };
    }),
    counts: {
      conversations,
      unreadable: unreadable.length,
      truncated,
      withoutTargets,
      samples,
      tokens,
      supervisedTokens,
    },
    templateHash: renderer.hash,
    tokenizerHash: tokenizer.hash ?? null,
    options,
  };
}

/** One value that differs between two manifests; undefined where one has no such value. */
export interface ManifestChange {
  readonly path: string;
  readonly before: Json | undefined;
  readonly after: Json | undefined;
}

function differences(before: Json | undefined, after: Json | undefined, path: string): ManifestChange[] {
  if (isRecord(before) && isRecord(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return keys.flatMap((key) => differences(before[key], after[key], path === '' ? key : `${path}.${key}`));
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    return Array.from({ length: Math.max(before.length, after.length) }).flatMap((_, index) =>
      differences(before[index] as Json | undefined, after[index] as Json | undefined, `${path}[${index}]`),
    );
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
}

/** Every value in which two manifests differ, with its path. */
export function diffManifests(before: DataManifest, after: DataManifest): ManifestChange[] {
  return differences(before as unknown as Json, after as unknown as Json, '');
}
