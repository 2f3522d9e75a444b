import { statSync } from 'node:fs';
import type {
  ChatRenderer,
  DataTransform,
  Json,
  Tokenizer,
  TransformOrigin,
  TransformReport,
} from '@whetstone/core/contract';
import { hashFile } from '@whetstone/core/files';
import type { BatchOptions } from '../batching/options.js';
import type { BatchSourceSummary } from '../batching/summary.js';
import { isRecord, ownValue } from '@whetstone/core/util';

/** The version of the format of {@link DataManifest}; see docs/versioning.md. */
export const DATA_MANIFEST_VERSION = 1;

/** A record of a data set's sources and transforms, as plain data, to be stored with models that were trained on it. */
export interface DataManifest {
  readonly format: typeof DATA_MANIFEST_VERSION;
  /** Hash of the training conversations. Data sets with the same hash are equal. */
  readonly contentHash: string;
  readonly sources: readonly { readonly file: string; readonly bytes: number; readonly sha256: string }[];
  /** The transforms in order, with counts and, if known, version and options. */
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
  /** The options of batches, including the seed. */
  readonly options: BatchOptions;
}

export interface ManifestInputs {
  readonly summary: BatchSourceSummary;
  readonly reports: readonly TransformReport[];
  /** The transforms of the reports. */
  readonly transforms?: readonly DataTransform[];
  /** The plugin and options of each transform, for transforms without a recipe. */
  readonly origins?: readonly (TransformOrigin | undefined)[];
  readonly options: BatchOptions;
  readonly renderer: ChatRenderer;
  readonly tokenizer: Tokenizer;
}

async function describeFile(file: string): Promise<DataManifest['sources'][number]> {
  return { file, bytes: statSync(file).size, sha256: await hashFile(file) };
}

/** Creates the manifest of a data set. Hashes every source file. */
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
  // A source that is not a file is listed without a hash.
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

/** A value that differs between two manifests; undefined if a manifest lacks it. */
export interface ManifestChange {
  readonly path: string;
  readonly before: Json | undefined;
  readonly after: Json | undefined;
}

function differences(before: Json | undefined, after: Json | undefined, path: string): ManifestChange[] {
  if (isRecord(before) && isRecord(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return keys.flatMap((key) =>
      differences(ownValue(before, key), ownValue(after, key), path === '' ? key : `${path}.${key}`),
    );
  }
  if (Array.isArray(before) && Array.isArray(after)) {
    return Array.from({ length: Math.max(before.length, after.length) }).flatMap((_, index) =>
      differences(before[index] as Json | undefined, after[index] as Json | undefined, `${path}[${index}]`),
    );
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
}

/** Returns the values in which two manifests differ, with their paths. */
export function diffManifests(before: DataManifest, after: DataManifest): ManifestChange[] {
  return differences(before as unknown as Json, after as unknown as Json, '');
}
