import { createHash } from 'node:crypto';
import type { ChatRenderer, Conversation, Tokenizer } from '@whetstone/core/contract';
import { countTargets, createTokenize, type Tokenize } from '../examples/tokenize.js';
import { truncate } from '../examples/truncate.js';
import { createSupervisionObserver, type SupervisionFindings } from '../proof/observe.js';
import { packFingerprints, type PackedFingerprints } from '../parallel/fingerprints.js';
import { fingerprintOf, type FingerprintOptions } from '../transforms/duplicates/finder.js';
import { packOrigins, type PackedOrigins } from '../transforms/duplicates/origin-list.js';
import { causeOf, type SampleWithoutTargets } from './nothing-to-learn.js';
import type { BatchOptions } from './options.js';
import { createTraitCollector, type SampleTraits } from './sample-traits.js';

/**
 * What of a conversation's tokens is kept: ids, which of them are supervised, and what they count where that is not 1.
 */
type Sample = Pick<ReturnType<Tokenize>, 'ids' | 'supervised' | 'weights'>;

/**
 * Samples of some conversations in a row, as typed arrays; what is known of the whole data set comes from putting these
 * together in their order.
 */
export interface TokenBlock {
  readonly conversations: number;
  /** A SHA-256 of each conversation's content, 32 bytes each. */
  readonly digests: Uint8Array;
  /** For the look-out for leakage; null where nobody asked for it. */
  readonly index: { readonly fingerprints: PackedFingerprints; readonly origins: PackedOrigins } | null;
  /** Tokens of each sample, then all of them end to end. */
  readonly lengths: Int32Array;
  readonly ids: Int32Array;
  readonly supervised: Uint8Array;
  /** What each token of a sample counts, by the sample's number; of samples whose tokens do not all count 1. */
  readonly weights: readonly (readonly [sample: number, weights: Float32Array])[];
  readonly traits: SampleTraits;
  readonly truncated: number;
  readonly withoutTargets: readonly SampleWithoutTargets[];
  readonly supervision: SupervisionFindings | null;
}

export interface TokenizeBlockInputs {
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  readonly options: BatchOptions;
  /** What of each conversation is needed to find it in evaluation data; null where nobody asks. */
  readonly fingerprints: FingerprintOptions | null;
}

/**
 * What decides a conversation's tokens, as one line of text for the content hash: not where it stood, nor columns that
 * nothing learns.
 */
const contentOf = ({ form, messages, tools }: Conversation): string =>
  `${JSON.stringify([form, messages, tools ?? null])}\n`;

/** Strategies that split long samples over rows cut nothing off. */
const keptLength = ({ packing, packingStrategy, maxLength }: BatchOptions): number | null =>
  packing && packingStrategy !== 'bfd' ? null : maxLength;

function joinSamples(samples: readonly Sample[]): Pick<TokenBlock, 'lengths' | 'ids' | 'supervised' | 'weights'> {
  const lengths = Int32Array.from(samples, ({ ids }) => ids.length);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const ids = new Int32Array(total);
  const supervised = new Uint8Array(total);
  let start = 0;
  for (const sample of samples) {
    ids.set(sample.ids, start);
    supervised.set(sample.supervised, start);
    start += sample.ids.length;
  }
  const weights = samples.flatMap((sample, index) =>
    sample.weights === undefined ? [] : [[index, sample.weights] as const],
  );
  return { lengths, ids, supervised, weights };
}

/** What was made of the conversations before one that failed, and how it failed. */
export interface TokenizedBlock {
  readonly block: TokenBlock;
  readonly failure: { readonly error: unknown } | null;
}

/**
 * Makes the function that renders, tokenises, marks and cuts some conversations: any thread may call it, in any order.
 */
export function createBlockTokenizer({
  tokenizer,
  renderer,
  options,
  fingerprints,
}: TokenizeBlockInputs): (conversations: readonly Conversation[]) => TokenizedBlock {
  const tokenize = createTokenize({ tokenizer, renderer }, options);
  return (given) => {
    const observer = options.supervisionProof === 'off' ? null : createSupervisionObserver({ tokenizer, renderer });
    const collector = createTraitCollector(options);
    const samples: Sample[] = [];
    const withoutTargets: SampleWithoutTargets[] = [];
    const digests: Buffer[] = [];
    let truncated = 0;
    let failure: TokenizedBlock['failure'] = null;
    for (const conversation of given) {
      try {
        const whole = tokenize(conversation);
        observer?.observe(conversation, whole);
        const sample = truncate(conversation, whole, keptLength(options), options.truncationMode, tokenize);
        const without = countTargets(sample.supervised) === 0;
        if (without) withoutTargets.push({ origin: conversation.origin, cause: causeOf(conversation, whole, options) });
        if (!without || (options.samplesWithoutTargets === 'keep' && sample.ids.length > 0)) {
          collector.add(conversation);
          samples.push(sample);
        }
        if (sample.truncated) truncated++;
      } catch (error) {
        failure = { error };
        break;
      }
      digests.push(createHash('sha256').update(contentOf(conversation)).digest());
    }
    const done = given.slice(0, digests.length);
    const index = fingerprints
      ? {
          fingerprints: packFingerprints(done.map((conversation) => fingerprintOf(conversation, fingerprints))),
          origins: packOrigins(done.map(({ origin }) => origin)),
        }
      : null;
    // A copy of its own: what Buffer.concat gives may be part of a pool, which no thread can hand over.
    const block: TokenBlock = {
      conversations: done.length,
      digests: Uint8Array.from(Buffer.concat(digests)),
      index,
      ...joinSamples(samples),
      traits: collector.traits,
      truncated,
      withoutTargets,
      supervision: observer?.findings() ?? null,
    };
    return { block, failure };
  };
}
