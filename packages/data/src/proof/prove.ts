import type { ChatRenderer, DataSource, Tokenizer } from '@whetstone/core/contract';
import { counted } from '@whetstone/core/util';
import { createTokenCollector, tokenizeInOrder, type Tokenized } from '../batching/collect-tokens.js';
import { defaultBatchOptions, type BatchOptions } from '../batching/options.js';
import { createBlockTokenizer } from '../batching/tokenize-block.js';
import type { NothingToLearnCause } from '../examples/tokenize.js';
import type { ThreadOptions } from '../parallel/pass.js';
import { tokenizeOnThreads } from '../parallel/tokenize-on-threads.js';
import { reasoningWarnings, supervisionProblems } from './check.js';
import type { SupervisionFindings } from './observe.js';

/** The result of the supervision proof for a data set. */
export interface SupervisionProof {
  readonly conversations: number;
  readonly unreadable: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  readonly truncated: number;
  readonly maxLength: number | null;
  readonly withoutTargets: number;
  readonly withoutTargetsByCause: Readonly<Partial<Record<NothingToLearnCause, number>>>;
  readonly findings: SupervisionFindings;
}

export interface ProofInputs {
  readonly source: DataSource;
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  readonly options?: Partial<BatchOptions>;
  /** Worker threads for large data; if absent, all work runs on this thread. The result is the same. */
  readonly threads?: ThreadOptions;
}

async function tokenizeHere({ source, tokenizer, renderer }: ProofInputs, options: BatchOptions): Promise<Tokenized> {
  const collector = createTokenCollector(null);
  await tokenizeInOrder(
    source.conversations(),
    createBlockTokenizer({ tokenizer, renderer, options, fingerprints: null }),
    collector,
  );
  return collector.result();
}

/** Reads and tokenizes a source and returns its supervision. Findings are returned, not thrown. */
export async function proveSupervision({
  source,
  tokenizer,
  renderer,
  options,
  threads,
}: ProofInputs): Promise<SupervisionProof> {
  const all: BatchOptions = {
    ...defaultBatchOptions,
    ...options,
    supervisionProof: 'warn',
    samplesWithoutTargets: 'skip',
  };
  const { counts, supervision } =
    (threads &&
      (await tokenizeOnThreads({ source, tokenizer, renderer, ...threads }, { ...all, workers: threads.workers }))) ??
    (await tokenizeHere({ source, tokenizer, renderer }, all));
  const { conversations, tokens, supervisedTokens, truncated, withoutTargets, withoutTargetsByCause } = counts;
  const none = { count: 0, first: [] };
  return {
    conversations,
    unreadable: source.unreadable.length,
    tokens,
    supervisedTokens,
    truncated,
    maxLength: all.maxLength,
    withoutTargets,
    withoutTargetsByCause,
    findings: supervision ?? {
      turns: 0,
      withoutStop: none,
      prefixesChecked: 0,
      otherPrefix: none,
      withoutReasoning: none,
    },
  };
}

/** Describes a proof in sentences; `good` is false for problems. */
export function describeProof({
  conversations,
  unreadable,
  tokens,
  supervisedTokens,
  truncated,
  maxLength,
  withoutTargets,
  withoutTargetsByCause,
  findings,
}: SupervisionProof): { readonly text: string; readonly good: boolean }[] {
  const share = tokens === 0 ? 0 : (100 * supervisedTokens) / tokens;
  const causes = Object.entries(withoutTargetsByCause)
    .map(([cause, count]) => `${count} by ${cause}`)
    .join(', ');
  const problems = supervisionProblems(findings).map(({ message, hint }) => ({
    text: hint === undefined ? message : `${message} ${hint}`,
    good: false,
  }));
  return [
    {
      text:
        `${supervisedTokens} of ${tokens} tokens in ${counted(conversations, 'conversation')} ` +
        `are target tokens (${share.toFixed(1)} %)`,
      good: supervisedTokens > 0,
    },
    withoutTargets === 0
      ? { text: 'every conversation has target tokens', good: true }
      : {
          text: `${counted(withoutTargets, 'conversation has', 'conversations have')} no target tokens: ${causes}`,
          good: false,
        },
    {
      text:
        `${truncated === 0 ? 'no conversation is' : counted(truncated, 'conversation is', 'conversations are')} ` +
        `truncated${maxLength === null ? '' : ` to ${maxLength} tokens`}`,
      good: truncated === 0,
    },
    ...(unreadable === 0 ? [] : [{ text: `${counted(unreadable, 'row')} cannot be read`, good: false }]),
    ...reasoningWarnings(findings).map((text) => ({ text, good: false })),
    ...(problems.length > 0
      ? problems
      : [
          {
            text:
              `all ${findings.turns} turns have a stop token, and their prompts equal the training text ` +
              `(${findings.prefixesChecked} prompts compared, token by token)`,
            good: true,
          },
        ]),
  ];
}
