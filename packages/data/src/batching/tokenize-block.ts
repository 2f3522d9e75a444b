import { createHash } from 'node:crypto';
import type { ChatRenderer, Conversation, Tokenizer, TurnCounts } from '@whetstone/core/contract';
import { stringifyExact } from '@whetstone/core/util';
import { countTargets, createTokenize, type Tokenize } from '../examples/tokenize.js';
import { truncate } from '../examples/truncate.js';
import { createSupervisionObserver, type SupervisionFindings } from '../proof/observe.js';
import { packFingerprints, type PackedFingerprints } from '../parallel/fingerprints.js';
import { fingerprintOf, type FingerprintOptions } from '../transforms/duplicates/finder.js';
import { packOrigins, type PackedOrigins } from '../transforms/duplicates/origin-list.js';
import { causeOf, type SampleWithoutTargets } from './nothing-to-learn.js';
import type { BatchOptions } from './options.js';
import { createTraitCollector, type SampleTraits } from './sample-traits.js';
import { createTurnCounter } from './turn-counts.js';

type Sample = Pick<ReturnType<Tokenize>, 'ids' | 'supervised' | 'weights'>;

/** The samples of consecutive conversations, as typed arrays. */
export interface TokenBlock {
  readonly conversations: number;
  /** SHA-256 of each conversation's content, 32 bytes each. */
  readonly digests: Uint8Array;
  /** For the search for evaluation data; null if none was given. */
  readonly index: { readonly fingerprints: PackedFingerprints; readonly origins: PackedOrigins } | null;
  /** The number of tokens of each sample. `ids` and `supervised` hold the tokens of all samples, end to end. */
  readonly lengths: Int32Array;
  readonly ids: Int32Array;
  readonly supervised: Uint8Array;
  /** The weights of samples in which not all weights are 1, with the number of the sample. */
  readonly weights: readonly (readonly [sample: number, weights: Float32Array])[];
  readonly traits: SampleTraits;
  readonly truncated: number;
  readonly withoutTargets: readonly SampleWithoutTargets[];
  readonly supervision: SupervisionFindings | null;
  readonly turns: TurnCounts;
}

export interface TokenizeBlockInputs {
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  readonly options: BatchOptions;
  /** Options of the search for evaluation data; null if none was given. */
  readonly fingerprints: FingerprintOptions | null;
}

/** Returns the content of a conversation that determines its tokens, for the content hash: no origin, no columns. */
const contentOf = ({ form, messages, tools, templateVariables }: Conversation): string =>
  `${stringifyExact([form, messages, tools ?? null, ...(templateVariables ? [templateVariables] : [])])}\n`;

/** Returns the length to truncate samples to; null if the packing strategy splits long samples instead. */
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

/** The tokens of the conversations before the first one that failed, and its error, if any. */
export interface TokenizedBlock {
  readonly block: TokenBlock;
  readonly failure: { readonly error: unknown } | null;
}

/**
 * Creates the function that renders, tokenizes and truncates the conversations of a block. Blocks are independent: any
 * thread can process them, in any order.
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
    const turns = createTurnCounter(options);
    const samples: Sample[] = [];
    const withoutTargets: SampleWithoutTargets[] = [];
    const digests: Buffer[] = [];
    let truncated = 0;
    let failure: TokenizedBlock['failure'] = null;
    for (const conversation of given) {
      try {
        const full = tokenize(conversation);
        observer?.observe(conversation, full);
        const sample = truncate(conversation, full, keptLength(options), options.truncationMode, tokenize);
        const without = countTargets(sample.supervised) === 0;
        if (without) withoutTargets.push({ origin: conversation.origin, cause: causeOf(conversation, full, options) });
        if (!without || (options.samplesWithoutTargets === 'keep' && sample.ids.length > 0)) {
          collector.add(conversation);
          samples.push(sample);
        }
        if (sample.truncated) truncated++;
        turns.add(conversation);
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
    // A copy, because Buffer.concat may return memory of a pool, which cannot be transferred.
    const block: TokenBlock = {
      conversations: done.length,
      digests: Uint8Array.from(Buffer.concat(digests)),
      index,
      ...joinSamples(samples),
      traits: collector.traits,
      truncated,
      withoutTargets,
      supervision: observer?.findings() ?? null,
      turns: turns.counts(),
    };
    return { block, failure };
  };
}
