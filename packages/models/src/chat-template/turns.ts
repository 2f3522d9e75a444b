import type { Message, TextSpan } from '@whetstone/core/contract';
import { lastPositionOf } from './bounded-text.js';
import { countItems, countRead } from './bounds.js';
import type { Trace } from './provenance.js';
import { frameResults, markersIn } from './result-frames.js';
import type { TemplateOutput } from './template.js';
import { firstFrom, indexTraces, type TraceIndex } from './trace-index.js';

export interface TurnInputs {
  readonly output: TemplateOutput;
  readonly messages: readonly Message[];
  readonly tagged: boolean;
  /** The text that the template writes before the assistant's reply; may be empty. */
  readonly generationPrompt: string;
}

/** Returns the spans between `{% generation %}` tags, in the order of the text. */
export function generationSpans({ traces }: TemplateOutput): TextSpan[] {
  return traces
    .filter(({ kind }) => kind === 'generation')
    .map(({ start, end }) => ({ start, end }))
    .sort((a, b) => a.start - b.start || a.end - b.end);
}

/**
 * Returns the spans within the assistant's turns that the assistant did not write: what came from messages of other
 * roles and from results of tools that its own message holds, with what the template writes around them. What a loop
 * wrote for a message of another role belongs to it completely.
 */
export function foreignSpans(
  { output, messages, generationPrompt }: Omit<TurnInputs, 'tagged'>,
  turns: readonly (TextSpan | null)[],
): TextSpan[] {
  const { text, traces } = output;
  const isOther = ({ message, kind, start, end }: Trace): boolean =>
    end > start &&
    message >= 0 &&
    (kind === 'result' ||
      (messages[message]?.role !== 'assistant' && (kind === 'turn' || kind === 'content' || kind === 'role')));
  if (!traces.some(isOther)) return [];
  const index = indexTraces(traces);
  const spans = turns.flatMap((turn, position) => {
    const message = messages[position];
    if (turn === null || message?.role !== 'assistant') return [];
    // A text that was made from both cannot be told apart; it belongs to the assistant.
    const own = index.of(position).filter((trace) => isContent(trace) && contains(turn, trace));
    const others = index.within(turn).filter(isOther);
    countItems(own.length * others.length);
    const results = merged(
      others.filter((trace) => !own.some(({ start, end }) => start < trace.end && end > trace.start)),
    );
    const sorted = own.toSorted((a, b) => a.start - b.start);
    countItems((sorted.length + 1) * results.length);
    return frameResults({
      text,
      turn,
      results,
      own: sorted,
      repeated: namesOfCalls(message),
      header: generationPrompt,
    });
  });
  return merged(spans);
}

/** Returns the names and ids of the calls of a message, which templates repeat with the results. */
function namesOfCalls({ tool_calls: calls = [] }: Message): string[] {
  return calls.flatMap((call) => {
    const { id, name, function: target } = call as { id?: unknown; name?: unknown; function?: { name?: unknown } };
    return [id, name, target?.name].filter((text) => typeof text === 'string');
  });
}

/** Joins spans that overlap or touch, in the order of the text. */
function merged(spans: readonly TextSpan[]): TextSpan[] {
  const joined: { start: number; end: number }[] = [];
  for (const { start, end } of spans.toSorted((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else joined.push({ start, end });
  }
  return joined;
}

/**
 * Finds the span of each message that a model would have to generate: from the end of the header to the end of the
 * turn, without trailing white space. If generation tags mark a message, their span is returned unchanged. Null for
 * messages that the template does not render.
 */
export function findTurns(turnInputs: TurnInputs): (TextSpan | null)[] {
  const inputs: IndexedInputs = { ...turnInputs, index: indexTraces(turnInputs.output.traces) };
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

/** The output of a template for one message, including the header. */
interface Region {
  readonly start: number;
  readonly end: number;
  /** The span from the first to the last character of the message's content; null if none was written. */
  readonly content: TextSpan | null;
  /** Whether a loop over the messages wrote it. Then its start and end are exact. */
  readonly looped: boolean;
}

const isContent = ({ kind, start, end }: Trace): boolean => kind === 'content' && end > start;

const contains = (outer: TextSpan, inner: TextSpan): boolean => inner.start >= outer.start && inner.end <= outer.end;

function hull(spans: readonly TextSpan[]): TextSpan | null {
  if (spans.length === 0) return null;
  countItems(spans.length);
  let [start, end] = [Infinity, 0];
  for (const span of spans) {
    start = Math.min(start, span.start);
    end = Math.max(end, span.end);
  }
  return { start, end };
}

/** Finds the region of each message: the output of its loop iteration, or else the span of its content. */
function findRegions({ index, messages }: Pick<IndexedInputs, 'index' | 'messages'>): (Region | null)[] {
  return messages.map((_, message) => {
    const own = index.of(message);
    const contents = own.filter(isContent);
    const turns = own.filter(({ kind, start, end }) => kind === 'turn' && end > start);
    // Text in the turn of another message belongs to that message, even if it came from this one. Example: the name of
    // a
    // called tool, repeated with its result.
    const nested = (turn: TextSpan): readonly Trace[] =>
      index
        .within(turn)
        .filter((trace) => trace.kind === 'turn' && trace.message !== message && trace.end > trace.start);
    const within = (turn: TextSpan): readonly Trace[] => {
      const others = nested(turn);
      countItems(contents.length * (1 + others.length));
      return contents.filter((content) => contains(turn, content) && !others.some((other) => contains(other, content)));
    };
    const best =
      turns.findLast((turn) => within(turn).length > 0) ?? (contents.length === 0 ? turns.at(-1) : undefined);
    if (best !== undefined) return { start: best.start, end: best.end, content: hull(within(best)), looped: true };
    const content = hull(contents);
    return content === null ? null : { ...content, content, looped: false };
  });
}

/** Returns the start of the loop iteration over a message; undefined if no loop wrote it. */
export function regionStart(output: TemplateOutput, messages: readonly Message[], index: number): number | undefined {
  const region = findRegions({ index: indexTraces(output.traces), messages })[index];
  return region?.looped === true ? region.start : undefined;
}

/** Returns the span of all generation tags of a message. Tags directly after the loop (an end of text) are included. */
function markedTurn({ index }: IndexedInputs, message: number): TextSpan | null {
  const marked = (of: number): readonly Trace[] =>
    index.of(of).filter((trace) => trace.kind === 'generation' && trace.end > trace.start);
  let turn = hull(marked(message));
  if (turn === null) return null;
  const outside = marked(-1);
  countItems(outside.length);
  for (const { start, end } of outside) if (start === turn.end) turn = { start: turn.start, end };
  return turn;
}

/** Returns the turn of a message within its region. */
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
  if (!region.looped) return { start, end: contentEnd };
  // Nothing of another message, such as a result, follows in the region of a turn that has no end.
  const isOpen = trimmedEnd(text, contentEnd, region.end) === written && closesOwnMarker(text, message, start, written);
  if (written > contentEnd && !isOpen) return { start, end: written };
  // The loop wrote no end of the turn. The end is the text before the next message, or the rest of the text.
  const following = next === undefined ? text.length : next.start;
  const between = trimmedEnd(text, region.end, following);
  if (between > region.end) return { start, end: between };
  if (message.role !== 'assistant' || next === undefined) return { start, end: written };
  return { start, end: openingEnd(text, next) };
}

/**
 * Returns whether the text of an assistant's turn ends with the marker that closes its tool calls, such as
 * `</tool_call>`. A template without ends of turns writes nothing after it: the next turn's marker ends the turn.
 */
function closesOwnMarker(text: string, { role, tool_calls: calls = [] }: Message, start: number, end: number): boolean {
  if (role !== 'assistant' || calls.length === 0) return false;
  const markers = markersIn(text, start, end);
  const last = markers.at(-1);
  return last?.end === end && last.closes && markers.some(({ word, closes }) => word === last.word && !closes);
}

/**
 * Returns the end of a message's text in its region. Some templates write tool results in the iteration of the call.
 */
function ownEnd({ index: traces }: IndexedInputs, index: number, from: number, region: Region): number {
  const foreign = traces
    .within({ start: from, end: region.end })
    .filter(
      (trace) =>
        trace.message >= 0 && trace.message !== index && trace.kind !== 'generation' && trace.end > trace.start,
    );
  return foreign.reduce((end, { start }) => Math.min(end, start), region.end);
}

/**
 * Returns the position at which the assistant's text starts: after the header of its role, in the rendered turn or in
 * the generation prompt.
 */
function assistantStart(inputs: IndexedInputs, index: number, region: Region): number {
  const {
    output: { text },
    index: traces,
    generationPrompt,
  } = inputs;
  const limit = region.content?.start ?? region.end;
  const inside = generationPrompt === '' ? -1 : lastPositionOf(text.slice(region.start, limit), generationPrompt);
  const prompted = inside < 0 ? limit : region.start + inside + generationPrompt.length;
  // A prompt may contain more than the header, such as the start of a thought. That belongs to the assistant's text.
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
  // If only the beginning of the prompt matches, shorten the match to a boundary: before `<` or `[`, or after white
  // space.
  while (shared > 0 && !isBoundary(generationPrompt, shared)) shared--;
  if (shared > 0 && generationPrompt.slice(0, shared).trim() !== '') return region.start + shared;
  // If the header is only in front of earlier text, this turn continues that one and has none.
  if (region.looped && generationPrompt.trim() !== '' && lastPositionOf(text, generationPrompt, region.start) >= 0)
    return region.start;
  // Without a header, the text starts with the region, including white space.
  return region.looped && text.slice(region.start, limit).trim() === '' ? region.start : limit;
}

const isBoundary = (text: string, at: number): boolean =>
  at === text.length || /\s/.test(text.charAt(at - 1)) || text.charAt(at) === '<' || text.charAt(at) === '[';

/** Returns the end of the header: after the role and the marker and white space that follow it. */
function headerEnd({ output: { text }, index: traces }: IndexedInputs, index: number, region: Region): number {
  const role = traces
    .of(index)
    .find((trace) => trace.kind === 'role' && trace.start >= region.start && trace.end <= region.end);
  if (role === undefined) return region.start;
  const rest = text.slice(role.end, region.end);
  return role.end + (/^[^\s<[]*(?:<\|[^<>]*>)?\s*/.exec(rest)?.[0].length ?? 0);
}

/** Returns the end of `text[from, to)` without trailing white space. */
function trimmedEnd(text: string, from: number, to: number): number {
  let end = to;
  while (end > from && /\s/.test(text.charAt(end - 1))) end--;
  countRead(to - end);
  return end;
}

/**
 * Returns the end of the first marker of the next turn. If a template writes no end of a turn, the model must generate
 * this marker to end it.
 */
function openingEnd(text: string, next: Region): number {
  const limit = next.content?.start ?? next.end;
  const opening = /^\s*(<[^<>]+>|\[[^[\]]+\]|\S+)/.exec(text.slice(next.start, limit));
  return next.start + (opening?.[0].length ?? 0);
}
