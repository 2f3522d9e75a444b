import type {
  ChatRenderer,
  Conversation,
  DataSummary,
  DataTransform,
  Json,
  Origin,
  Recipe,
  Tokenizer,
} from '@whetstone/core/contract';
import { createBlockTokenizer, type TokenizedBlock } from '../batching/tokenize-block.js';
import type { Tokenizing } from '../examples/tokenize.js';
import { jsonRowsOf } from '../reading/jsonl.js';
import { textRowsOf } from '../reading/plain-text.js';
import { RowProblem, type Row } from '../reading/row.js';
import { createMeasure, measureAll, measuredBuffers, type MeasureHint } from '../report/measure.js';
import { createRowReader } from '../sources/conversations.js';
import { packOrigins } from '../transforms/duplicates/origin-list.js';
import {
  createLog,
  type ReportingTransform,
  type TransformStep,
  type TransformLog,
  type Visit,
} from '../transforms/transform-log.js';
import { rowOf } from '../versions/row-of.js';
import { fingerprintBuffers, packFingerprints } from './fingerprints.js';
import { toPlainError, type PlainError } from './plain-error.js';
import type { Block, FirstBlockResult, FromWorker, BlockResult, BlockOutput, Setup, ToWorker } from './protocol.js';

/** A transform that is ready to run in this worker. */
type OpenStep =
  | { readonly name: string; readonly visit: Visit }
  | { readonly name: string; readonly filter: Extract<TransformStep, { kind: 'filter' }> };

/** Makes the pass output from the remaining conversations of a block. `failure` is the first error, if any. */
type MakeOutput = (
  conversations: readonly Conversation[],
  hint: MeasureHint,
) => { readonly output: BlockOutput; readonly failure: PlainError | null };

/** A block that waits for the result of an ordered filter. */
interface PendingBlock {
  readonly hint: MeasureHint;
  conversations: Conversation[];
  /** Index of the next transform. */
  next: number;
  /** True if origin indices count from the start of the data; false if they count from the start of the block. */
  absolute: boolean;
}

type Make<T> = (argument: Json, tokenizer?: Tokenizer) => T | Promise<T>;

/** Imports the module of a recipe and calls the function that the recipe names. */
async function make<T>(recipe: Recipe, tokenizer?: Tokenizer): Promise<T> {
  const module = (await import(recipe.module)) as Readonly<Record<string, Make<T> | undefined>>;
  const create = module[recipe.name];
  if (typeof create !== 'function') throw new Error(`${recipe.module} has no ${recipe.name}.`);
  return create(recipe.argument, tokenizer);
}

async function openStep(recipe: Recipe): Promise<OpenStep> {
  const transform = await make<DataTransform & Partial<ReportingTransform>>(recipe);
  const { step } = transform;
  if (step === undefined) throw new Error(`The transform that ${recipe.name} returns has no "step".`);
  const name = transform.report?.name ?? recipe.name;
  return step.kind === 'visit' ? { name, visit: await step.begin() } : { name, filter: step };
}

function rowsOf(
  block: Exclude<Block, { kind: 'conversations' }>,
  { maxRowBytes }: { readonly maxRowBytes?: number },
): Iterable<Row> {
  if (block.kind === 'rows') return block.rows;
  return block.format === 'jsonl' ? jsonRowsOf(block, maxRowBytes) : textRowsOf(block, maxRowBytes);
}

/** Loads the tokenizer and renderer of a pass; null if it needs none. */
async function openTokenizing({ output }: Setup): Promise<Tokenizing | null> {
  const recipes = output.kind === 'tokens' ? output : output.kind === 'report' ? output.tokenizing : null;
  if (recipes === null) return null;
  const tokenizer = await make<Tokenizer>(recipes.tokenizer);
  return { tokenizer, renderer: await make<ChatRenderer>(recipes.renderer, tokenizer) };
}

function outputOf({ output }: Setup, tokenizing: Tokenizing | null): MakeOutput {
  if (output.kind === 'report') return measuringWith(createMeasure(tokenizing, output.measure));
  if (output.kind === 'tokens' && tokenizing) return tokenizingWith(createBlockTokenizer({ ...output, ...tokenizing }));
  return linesOf;
}

/** Reads the conversations of a block, at most `limit`. */
function readBlock(
  { fileSets }: Setup,
  block: Block,
  layout: string | null,
  limit: number,
): { conversations: Conversation[] } & Pick<FirstBlockResult, 'rows' | 'layout' | 'unreadable'> {
  if (block.kind === 'conversations')
    return { conversations: [...block.conversations], rows: block.conversations.length, layout, unreadable: [] };
  const fileSet = fileSets[block.fileSet];
  const reader = createRowReader(fileSet?.options ?? {}, fileSet?.name, layout);
  const conversations: Conversation[] = [];
  const unreadable: DataSummary['unreadable'][number][] = [];
  let rows = 0;
  for (const row of rowsOf(block, fileSet?.options ?? {})) {
    const origin: Origin = { file: block.file, line: row.line, index: rows++ };
    try {
      conversations.push(reader.read(row, origin));
    } catch (error) {
      if (!(error instanceof RowProblem)) throw error;
      unreadable.push({ origin, reason: error.message });
    }
    if (conversations.length === limit) break;
  }
  return { conversations, rows, layout: reader.layout, unreadable };
}

/** Returns a conversation whose index counts from the start of the data instead of the block. */
const shifted = (conversation: Conversation, base: number): Conversation => ({
  ...conversation,
  origin: { ...conversation.origin, index: conversation.origin.index + base },
});

/** Handles the messages of a worker thread: reads blocks, applies transforms, and makes the pass output. */
export interface BlockWorker {
  handle(message: ToWorker): Promise<FromWorker>;
}

export function createBlockWorker(): BlockWorker {
  let pass: Pass | null = null;
  const opened = (): Pass => {
    if (pass === null) throw new Error('The worker received a block before its setup.');
    return pass;
  };
  return {
    async handle(message) {
      switch (message.type) {
        case 'open': {
          const { setup } = message;
          const steps: OpenStep[] = [];
          for (const recipe of setup.transforms) steps.push(await openStep(recipe));
          const tokenizing = await openTokenizing(setup);
          pass = new Pass(setup, steps, outputOf(setup, tokenizing));
          return {
            type: 'opened',
            tokenizerHash: tokenizing?.tokenizer.hash ?? null,
            rendererHash: tokenizing?.renderer.hash ?? null,
            vocabularySize: tokenizing?.tokenizer.vocabularySize ?? null,
          };
        }
        case 'start':
          return { type: 'started', id: message.id, result: await opened().start(message) };
        case 'continue':
          return { type: 'continued', id: message.id, result: await opened().resume(message) };
      }
    },
  };
}

/** A pass over data: its transforms, its output, and the blocks that wait for the result of an ordered filter. */
class Pass {
  private readonly pending = new Map<number, PendingBlock>();

  constructor(
    private readonly setup: Setup,
    private readonly steps: readonly OpenStep[],
    private readonly makeOutput: MakeOutput,
  ) {}

  /** Reads a block and applies transforms up to the first ordered filter. */
  async start({ id, block, layout, limit, hint }: Extract<ToWorker, { type: 'start' }>): Promise<FirstBlockResult> {
    const { conversations, ...found } = readBlock(this.setup, block, layout, limit ?? Infinity);
    const absolute = block.kind === 'conversations';
    this.pending.set(id, { hint: hint ?? measureAll, conversations, next: 0, absolute });
    return { ...found, read: conversations.length, ...(await this.advance(id)) };
  }

  /** Continues a block with the result of an ordered filter. */
  async resume({ id, keep, base }: Extract<ToWorker, { type: 'continue' }>): Promise<BlockResult> {
    const block = this.pendingBlock(id);
    block.conversations = block.conversations.filter((_, index) => keep[index] === 1);
    if (!block.absolute) block.conversations = block.conversations.map((conversation) => shifted(conversation, base));
    block.absolute = true;
    return this.advance(id);
  }

  /** Applies transforms up to the next ordered filter, or all remaining ones and then makes the output. */
  private async advance(id: number): Promise<BlockResult> {
    const { steps } = this;
    const block = this.pendingBlock(id);
    const stop = steps.findIndex((step, index) => index >= block.next && 'filter' in step);
    const visits = steps
      .slice(block.next, stop === -1 ? undefined : stop)
      .flatMap((step) => ('visit' in step ? { visit: step.visit, log: createLog(step.name) } : []));
    const passed = await visitAll(block.conversations, visits);
    const reports = visits.map(({ log }) => log.report);
    const step = steps[stop];
    if (step && 'filter' in step) {
      block.conversations = passed.conversations;
      block.next = stop + 1;
      const output = {
        kind: 'fingerprints',
        transform: stop,
        origins: packOrigins(block.conversations.map(({ origin }) => origin)),
        fingerprints: packFingerprints(block.conversations.map(step.filter.fingerprint)),
      } as const;
      return { reports, output, failure: passed.failure };
    }
    this.pending.delete(id);
    const { output, failure } = this.makeOutput(passed.conversations, block.hint);
    // `makeOutput` only saw conversations before the one at which a transform failed, so its error is the earlier one.
    return { reports, output, failure: failure ?? passed.failure };
  }

  private pendingBlock(id: number): PendingBlock {
    const block = this.pending.get(id);
    if (!block) throw new Error(`Block ${id} is not pending.`);
    return block;
  }
}

const linesOf: MakeOutput = (conversations) => ({
  output: { kind: 'lines', bytes: new TextEncoder().encode(conversations.map(rowOf).join('')) },
  failure: null,
});

const tokenizingWith =
  (tokenize: (conversations: readonly Conversation[]) => TokenizedBlock): MakeOutput =>
  (conversations) => {
    const { block, failure } = tokenize(conversations);
    return { output: { kind: 'tokens', block }, failure: failure && toPlainError(failure.error) };
  };

const measuringWith =
  (measure: ReturnType<typeof createMeasure>): MakeOutput =>
  (conversations, hint) => {
    try {
      return { output: { kind: 'report', block: measure(conversations, hint) }, failure: null };
    } catch (error) {
      return { output: { kind: 'report', block: measure([], hint) }, failure: toPlainError(error) };
    }
  };

/** Applies all visits to a conversation before the next one is started, in the order of a pass without threads. */
async function visitAll(
  given: readonly Conversation[],
  visits: readonly { readonly visit: Visit; readonly log: TransformLog }[],
): Promise<{ conversations: Conversation[]; failure: PlainError | null }> {
  const conversations: Conversation[] = [];
  for (const conversation of given) {
    try {
      let current: Conversation | null = conversation;
      for (const { visit, log } of visits) {
        log.in();
        const result: ReturnType<Visit> = visit(current, log);
        current = result instanceof Promise ? await result : result;
        if (current === null) break;
        log.out();
      }
      if (current !== null) conversations.push(current);
    } catch (error) {
      return { conversations, failure: toPlainError(error) };
    }
  }
  return { conversations, failure: null };
}

function arraysOf(output: BlockOutput): readonly ArrayBufferView[] {
  switch (output.kind) {
    case 'lines':
      return [output.bytes];
    case 'fingerprints':
      return fingerprintBuffers(output.fingerprints);
    case 'report':
      return measuredBuffers(output.block);
    case 'tokens': {
      const { digests, lengths, ids, supervised, index } = output.block;
      return [digests, lengths, ids, supervised, ...(index ? fingerprintBuffers(index.fingerprints) : [])];
    }
  }
}

/** Returns the buffers of a reply, to be transferred instead of copied. */
export function buffersOf(message: FromWorker): ArrayBuffer[] {
  if (message.type !== 'started' && message.type !== 'continued') return [];
  const { output } = message.result;
  const arrays = arraysOf(output);
  return arrays.flatMap(({ buffer }) => (buffer instanceof ArrayBuffer ? buffer : []));
}
