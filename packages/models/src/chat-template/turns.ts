import type { Message, TextSpan } from '@whetstone/core/contract';
import type { Trace } from './provenance.js';
import type { TemplateOutput } from './template.js';
import { firstFrom, indexTraces, type TraceIndex } from './trace-index.js';

export interface TurnInputs {
  readonly output: TemplateOutput;
  readonly messages: readonly Message[];
  readonly tagged: boolean;
  /** What the template adds where the assistant is to write: empty where it adds nothing. */
  readonly generationPrompt: string;
}

/** The spans that `{% generation %}` tags mark, in the order of the text. */
export function generationSpans({ traces }: TemplateOutput): TextSpan[] {
  return traces
    .filter(({ kind }) => kind === 'generation')
    .map(({ start, end }) => ({ start, end }))
    .sort((a, b) => a.start - b.start || a.end - b.end);
}

/**
 * What the template wrote for each message: from where a model would have to write on, through the end of the turn,
 * without the white space after it. Where generation tags mark a message, their span it is, as it stands.
 */
export function findTurns(given: TurnInputs): (TextSpan | null)[] {
  const inputs: IndexedInputs = { ...given, index: indexTraces(given.output.traces) };
  const regions = findRegions(inputs);
  const ordered = regions.filter((region) => region !== null).sort((a, b) => a.start - b.start);
  return inputs.messages.map((message, index) => {
    const marked = inputs.tagged ? markedTurn(inputs, index) : null;
    if (marked !== null) return marked;
    const region = regions[index];
    return region === undefined || region === null ? null : turnWithin(inputs, message, index, region, ordered);
  });
}

interface IndexedInputs extends TurnInputs {
  readonly index: TraceIndex;
}

interface Region {
  readonly start: number;
  readonly end: number;
  /** First and last of what came from the message itself; null where nothing of it was written. */
  readonly content: TextSpan | null;
  /** Whether a loop over the messages wrote it, so that its ends are known exactly. */
  readonly looped: boolean;
}

const isContent = ({ kind, start, end }: Trace): boolean => kind === 'content' && end > start;

const holds = (outer: TextSpan, inner: TextSpan): boolean => inner.start >= outer.start && inner.end <= outer.end;

function hull(spans: readonly TextSpan[]): TextSpan | null {
  if (spans.length === 0) return null;
  return { start: Math.min(...spans.map(({ start }) => start)), end: Math.max(...spans.map(({ end }) => end)) };
}

/** Where each message stands in the text: what a loop wrote while it was at it, or else whatever came from it. */
function findRegions({ index, messages }: Pick<IndexedInputs, 'index' | 'messages'>): (Region | null)[] {
  return messages.map((_, message) => {
    const own = index.of(message);
    const contents = own.filter(isContent);
    const turns = own.filter(({ kind, start, end }) => kind === 'turn' && end > start);
    // What stands in another message's turn is that one's, wherever it came from (the name of a called tool, repeated
    // with its answer).
    const nested = (turn: TextSpan): readonly Trace[] =>
      index
        .within(turn)
        .filter((trace) => trace.kind === 'turn' && trace.message !== message && trace.end > trace.start);
    const within = (turn: TextSpan): readonly Trace[] => {
      const others = nested(turn);
      return contents.filter((content) => holds(turn, content) && !others.some((other) => holds(other, content)));
    };
    const best =
      turns.filter((turn) => within(turn).length > 0).at(-1) ?? (contents.length === 0 ? turns.at(-1) : undefined);
    if (best !== undefined) return { start: best.start, end: best.end, content: hull(within(best)), looped: true };
    const content = hull(contents);
    return content === null ? null : { ...content, content, looped: false };
  });
}

/** Where the loop over the messages began to write one of them; undefined where no loop did. */
export function regionStart(output: TemplateOutput, messages: readonly Message[], index: number): number | undefined {
  const region = findRegions({ index: indexTraces(output.traces), messages })[index];
  return region?.looped === true ? region.start : undefined;
}

/**
 * The tags of one message joined; what tags mark after the last loop (an end of text) belongs to the message it
 * follows.
 */
function markedTurn({ index }: IndexedInputs, message: number): TextSpan | null {
  const marked = (of: number): readonly Trace[] =>
    index.of(of).filter((trace) => trace.kind === 'generation' && trace.end > trace.start);
  let turn = hull(marked(message));
  if (turn === null) return null;
  for (const { start, end } of marked(-1)) if (start === turn.end) turn = { start: turn.start, end };
  return turn;
}

function turnWithin(
  inputs: IndexedInputs,
  message: Message,
  index: number,
  region: Region,
  ordered: readonly Region[],
): TextSpan {
  const { text } = inputs.output;
  const next = ordered[firstFrom(ordered, region.end)];
  const start =
    message.role === 'assistant'
      ? assistantStart(inputs, index, region)
      : (region.content?.start ?? headerEnd(inputs, index, region));
  const contentEnd = Math.max(start, region.content?.end ?? start);
  const written = trimmedEnd(text, contentEnd, ownEnd(inputs, index, contentEnd, region));
  if (written > contentEnd || !region.looped) return { start, end: region.looped ? written : contentEnd };
  // The loop wrote no end of the turn: what stands before the next message, or up to the end of the text, is it.
  const following = next === undefined ? text.length : next.start;
  const between = trimmedEnd(text, region.end, following);
  if (between > region.end) return { start, end: between };
  if (message.role !== 'assistant' || next === undefined) return { start, end: contentEnd };
  return { start, end: openingEnd(text, next) };
}

/** Where a message's own region ends: some templates write the answers of tools while they are at the call. */
function ownEnd({ index: traces }: IndexedInputs, index: number, from: number, region: Region): number {
  const foreign = traces
    .within({ start: from, end: region.end })
    .filter(
      (trace) =>
        trace.message >= 0 && trace.message !== index && trace.kind !== 'generation' && trace.end > trace.start,
    );
  return Math.min(region.end, ...foreign.map(({ start }) => start));
}

/**
 * Where the assistant starts to write: after the header of its role, as the template writes it here or as its
 * generation prompt has it.
 */
function assistantStart(inputs: IndexedInputs, index: number, region: Region): number {
  const {
    output: { text },
    index: traces,
    generationPrompt,
  } = inputs;
  const limit = region.content?.start ?? region.end;
  const inside = generationPrompt === '' ? -1 : text.slice(region.start, limit).lastIndexOf(generationPrompt);
  const prompted = inside < 0 ? limit : region.start + inside + generationPrompt.length;
  // A prompt may open more than the role (a thought): whatever follows the header is the assistant's own.
  if (traces.of(index).some((trace) => trace.kind === 'role' && trace.start >= region.start && trace.end <= limit))
    return Math.min(prompted, limit, headerEnd(inputs, index, region));
  if (inside >= 0) return prompted;
  let shared = 0;
  while (
    shared < generationPrompt.length &&
    region.start + shared < limit &&
    generationPrompt[shared] === text[region.start + shared]
  )
    shared++;
  // A prompt that goes on with more than the role (an opened thought) is cut where its own parts meet: before `<` or
  // after white space.
  while (shared > 0 && !atSeam(generationPrompt, shared)) shared--;
  if (shared > 0 && generationPrompt.slice(0, shared).trim() !== '') return region.start + shared;
  // No header at all: the text begins where the region does, white space included.
  return region.looped && text.slice(region.start, limit).trim() === '' ? region.start : limit;
}

const atSeam = (text: string, at: number): boolean =>
  at === text.length || /\s/.test(text.charAt(at - 1)) || text.charAt(at) === '<' || text.charAt(at) === '[';

/** After the role that a turn names, and the mark and white space that close the header. */
function headerEnd({ output: { text }, index: traces }: IndexedInputs, index: number, region: Region): number {
  const role = traces
    .of(index)
    .find((trace) => trace.kind === 'role' && trace.start >= region.start && trace.end <= region.end);
  if (role === undefined) return region.start;
  const rest = text.slice(role.end, region.end);
  return role.end + (/^[^\s<[]*(?:<\|[^<>]*>)?\s*/.exec(rest)?.[0].length ?? 0);
}

/** The end of `text[from, to)` without the white space at its end. */
function trimmedEnd(text: string, from: number, to: number): number {
  let end = to;
  while (end > from && /\s/.test(text.charAt(end - 1))) end--;
  return end;
}

/**
 * The first mark of the next turn: where a template ends turns with nothing of their own, that is what the model has to
 * write to end one.
 */
function openingEnd(text: string, next: Region): number {
  const limit = next.content?.start ?? next.end;
  const opening = /^\s*(<[^<>]+>|\[[^[\]]+\]|\S+)/.exec(text.slice(next.start, limit));
  return next.start + (opening?.[0].length ?? 0);
}
