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
import { jsonRowsOf } from '../reading/jsonl.js';
import { textRowsOf } from '../reading/plain-text.js';
import { RowProblem, type Row } from '../reading/row.js';
import { createMeasure, measureAll, measuredBuffers, type MeasureHint } from '../report/measure.js';
import { createRowReader } from '../sources/conversations.js';
import { packOrigins } from '../transforms/duplicates/origin-list.js';
import {
  createLog,
  type ReportingTransform,
  type Stage,
  type TransformLog,
  type Visit,
} from '../transforms/transform-log.js';
import { rowOf } from '../versions/row-of.js';
import { fingerprintBuffers, packFingerprints } from './fingerprints.js';
import { toPlainError, type PlainError } from './plain-error.js';
import type { Block, FirstLeg, FromWorker, Leg, LegOutput, Setup, ToWorker } from './protocol.js';

/** A transform as it is run here. */
type Step =
  | { readonly name: string; readonly visit: Visit }
  | { readonly name: string; readonly decide: Extract<Stage, { kind: 'decide' }> };

/** What is made of the conversations that stay, and how one of them failed. */
type Finish = (
  conversations: readonly Conversation[],
  hint: MeasureHint,
) => { readonly output: LegOutput; readonly failure: PlainError | null };

/** A block between two legs. */
interface Held {
  readonly hint: MeasureHint;
  conversations: Conversation[];
  /** The next step. */
  next: number;
  /** Whether the numbers of its origins are those of the whole data, or count from 0. */
  absolute: boolean;
}

type Make<T> = (argument: Json, tokenizer?: Tokenizer) => T | Promise<T>;

/** Calls what a recipe names. */
async function make<T>(recipe: Recipe, tokenizer?: Tokenizer): Promise<T> {
  const module = (await import(recipe.module)) as Readonly<Record<string, Make<T> | undefined>>;
  const create = module[recipe.name];
  if (typeof create !== 'function') throw new Error(`${recipe.module} has no ${recipe.name}.`);
  return create(recipe.argument, tokenizer);
}

async function stepOf(recipe: Recipe): Promise<Step> {
  const transform = await make<DataTransform & Partial<ReportingTransform>>(recipe);
  const { stage } = transform;
  if (stage === undefined) throw new Error(`What ${recipe.name} makes has no stage.`);
  const name = transform.report?.name ?? recipe.name;
  return stage.kind === 'visit' ? { name, visit: await stage.begin() } : { name, decide: stage };
}

function rowsOf(
  block: Exclude<Block, { kind: 'conversations' }>,
  { maxRowBytes }: { readonly maxRowBytes?: number },
): Iterable<Row> {
  if (block.kind === 'rows') return block.rows;
  return block.format === 'jsonl' ? jsonRowsOf(block, maxRowBytes) : textRowsOf(block, maxRowBytes);
}

/**
 * A thread's part of the work, whatever carries the messages: makes conversations of blocks, sends them through
 * transforms, and to their goal.
 */
export interface BlockWorker {
  handle(message: ToWorker): Promise<FromWorker>;
}

export function createBlockWorker(): BlockWorker {
  const held = new Map<number, Held>();
  let setup: Setup;
  let steps: readonly Step[] = [];
  let finish: Finish = linesOf;

  async function open(given: Setup): Promise<FromWorker> {
    setup = given;
    const made: Step[] = [];
    for (const recipe of setup.transforms) made.push(await stepOf(recipe));
    steps = made;
    const { goal } = setup;
    const recipes = goal.kind === 'tokens' ? goal : goal.kind === 'report' ? goal.tokenizing : null;
    const tokenizer = recipes && (await make<Tokenizer>(recipes.tokenizer));
    const renderer = recipes && tokenizer && (await make<ChatRenderer>(recipes.renderer, tokenizer));
    const tokenizing = tokenizer && renderer && { tokenizer, renderer };
    if (goal.kind === 'report') finish = measuringWith(createMeasure(tokenizing, goal.measure));
    else if (goal.kind === 'tokens' && tokenizing)
      finish = tokenizingWith(createBlockTokenizer({ ...goal, ...tokenizing }));
    return {
      type: 'opened',
      tokenizerHash: tokenizer?.hash ?? null,
      rendererHash: renderer?.hash ?? null,
      vocabularySize: tokenizer?.vocabularySize ?? null,
    };
  }

  function read(
    block: Block,
    layout: string | null,
    limit: number,
  ): { conversations: Conversation[] } & Pick<FirstLeg, 'rows' | 'layout' | 'unreadable'> {
    if (block.kind === 'conversations')
      return { conversations: [...block.conversations], rows: block.conversations.length, layout, unreadable: [] };
    const part = setup.parts[block.part];
    const reader = createRowReader(part?.options ?? {}, part?.name, layout);
    const conversations: Conversation[] = [];
    const unreadable: DataSummary['unreadable'][number][] = [];
    let rows = 0;
    for (const row of rowsOf(block, part?.options ?? {})) {
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

  /** Sends the conversations through the steps up to one that decides, or to the end. */
  async function advance(id: number): Promise<Leg> {
    const at = held.get(id);
    if (!at) throw new Error(`No block ${id} is held.`);
    const stop = steps.findIndex((step, index) => index >= at.next && 'decide' in step);
    const visits = steps
      .slice(at.next, stop === -1 ? undefined : stop)
      .flatMap((step) => ('visit' in step ? { visit: step.visit, log: createLog(step.name) } : []));
    const passed = await visitAll(at.conversations, visits);
    const reports = visits.map(({ log }) => log.report);
    const step = steps[stop];
    if (step && 'decide' in step) {
      at.conversations = passed.conversations;
      at.next = stop + 1;
      const output = {
        kind: 'fingerprints',
        transform: stop,
        origins: packOrigins(at.conversations.map(({ origin }) => origin)),
        fingerprints: packFingerprints(at.conversations.map(step.decide.fingerprint)),
      } as const;
      return { reports, output, failure: passed.failure };
    }
    held.delete(id);
    const { output, failure } = finish(passed.conversations, at.hint);
    // What fails at an earlier conversation comes first.
    return { reports, output, failure: failure ?? passed.failure };
  }

  async function start({ id, block, layout, limit, hint }: Extract<ToWorker, { type: 'start' }>): Promise<FromWorker> {
    const { conversations, ...found } = read(block, layout, limit ?? Infinity);
    held.set(id, { hint: hint ?? measureAll, conversations, next: 0, absolute: block.kind === 'conversations' });
    return { type: 'started', id, leg: { ...found, read: conversations.length, ...(await advance(id)) } };
  }

  return {
    async handle(message) {
      switch (message.type) {
        case 'open':
          return open(message.setup);
        case 'start':
          return start(message);
        case 'continue': {
          const at = held.get(message.id);
          if (!at) throw new Error(`No block ${message.id} is held.`);
          at.conversations = at.conversations.filter((_, index) => message.keep[index] === 1);
          if (!at.absolute)
            at.conversations = at.conversations.map((conversation) => ({
              ...conversation,
              origin: { ...conversation.origin, index: conversation.origin.index + message.base },
            }));
          at.absolute = true;
          return { type: 'continued', id: message.id, leg: await advance(message.id) };
        }
      }
    },
  };
}

const linesOf: Finish = (conversations) => ({
  output: { kind: 'lines', bytes: new TextEncoder().encode(conversations.map(rowOf).join('')) },
  failure: null,
});

const tokenizingWith =
  (tokenize: (conversations: readonly Conversation[]) => TokenizedBlock): Finish =>
  (conversations) => {
    const { block, failure } = tokenize(conversations);
    return { output: { kind: 'tokens', block }, failure: failure && toPlainError(failure.error) };
  };

const measuringWith =
  (measure: ReturnType<typeof createMeasure>): Finish =>
  (conversations, hint) => {
    try {
      return { output: { kind: 'report', block: measure(conversations, hint) }, failure: null };
    } catch (error) {
      return { output: { kind: 'report', block: measure([], hint) }, failure: toPlainError(error) };
    }
  };

/** Each conversation through all visits before the next one, as one thread alone would do it. */
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

function arraysOf(output: LegOutput): readonly ArrayBufferView[] {
  switch (output.kind) {
    case 'lines':
      return [output.bytes];
    case 'fingerprints':
      return fingerprintBuffers(output.fingerprints);
    case 'report':
      return measuredBuffers(output.block);
    case 'tokens': {
      const { digests, lengths, ids, learned, index } = output.block;
      return [digests, lengths, ids, learned, ...(index ? fingerprintBuffers(index.fingerprints) : [])];
    }
  }
}

/** The buffers of a reply, which are handed over instead of copied. */
export function buffersOf(message: FromWorker): ArrayBuffer[] {
  if (message.type !== 'started' && message.type !== 'continued') return [];
  const { output } = message.leg;
  const arrays = arraysOf(output);
  return arrays.flatMap(({ buffer }) => (buffer instanceof ArrayBuffer ? buffer : []));
}
