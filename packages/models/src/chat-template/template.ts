import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { isNestedDeeper, isWrittenNumber, MAX_JSON_DEPTH } from '@whetstone/core/util';
import { bounded, BoundExceeded, countCall, exceeded } from './bounds.js';
import type { Evaluation } from './evaluation.js';
import { createGlobals } from './globals.js';
import { parseTemplate } from './parser.js';
import { createProvenance, type Provenance, type Trace } from './provenance.js';
import { Scope } from './scope.js';
import { capture } from './statements.js';
import { SyntaxProblem, type Template } from './syntax.js';
import {
  callable,
  float,
  integer,
  isList,
  isMapping,
  isMissing,
  isText,
  list,
  mapping,
  missing,
  printed,
  text,
  type DictValue,
  type Value,
} from './values.js';

interface TemplateRun {
  readonly messages: readonly unknown[];
  readonly variables: Readonly<Record<string, unknown>>;
  /** The time for `strftime_now`. */
  readonly now: Date;
}

export interface TemplateOutput {
  readonly text: string;
  readonly traces: readonly Trace[];
}

export interface CompiledTemplate {
  /** Whether the template marks the assistant's text with `{% generation %}` tags. */
  readonly tagged: boolean;
  /**
   * Renders messages to text, with traces of the messages that each range came from.
   *
   * @throws `TEMPLATE_FAILED` if the template fails.
   * @throws `TEMPLATE_LIMIT` if it exceeds a bound of `bounds.ts`
   */
  run(run: TemplateRun): TemplateOutput;
}

/**
 * Parses a chat template.
 *
 * @throws `TEMPLATE_FAILED` if the template has a syntax error; with the line if it is known.
 * @throws `TEMPLATE_LIMIT` if it is too long, or nested too deeply
 */
export function compileTemplate(source: string, file?: string): CompiledTemplate {
  const template = parse(source, file);
  // Globals are shared by all runs; only the time changes.
  const clock = { now: new Date(0) };
  const globals = createGlobals(clock);
  return {
    tagged: template.tagged,
    run({ messages, variables, now }) {
      clock.now = now;
      return withinBounds(file, () => {
        const evaluation = evaluationOf(template, messages, variables, new Scope(globals));
        const result = capture(evaluation, template.body, evaluation.root);
        return { text: printed(result), traces: evaluation.provenance.of(result) };
      });
    },
  };
}

/**
 * Runs part of a rendering with its own bounds.
 *
 * @throws `TEMPLATE_LIMIT` if it exceeds a bound
 * @throws `TEMPLATE_FAILED` for other errors
 */
export function withinBounds<T>(file: string | undefined, render: () => T): T {
  try {
    return bounded(render);
  } catch (cause) {
    throw templateError(cause, file);
  }
}

function evaluationOf(
  template: Template,
  messages: TemplateRun['messages'],
  variables: TemplateRun['variables'],
  root: Scope,
): Evaluation {
  // A recursion into deeper values would overflow the stack, which the engine does not always report as such.
  if ([...messages, ...Object.values(variables)].some((value) => isNestedDeeper(value)))
    exceeded('A message or a variable is nested too deeply', MAX_JSON_DEPTH, 'levels');
  const provenance = createProvenance();
  for (const [name, value] of Object.entries(variables)) root.set(name, toValue(value));
  const positions = new Map<Value, number>();
  const values = messages.map((message, index) => {
    const value = toValue(message);
    positions.set(value, index);
    markOrigin(value, index, provenance);
    return value;
  });
  root.set('messages', list(values));
  const evaluation: Evaluation = {
    template,
    provenance,
    messageOf: (value) => positions.get(value),
    root,
    position: { message: -1, atMessage: true },
  };
  root.set('self', blocksOf(evaluation));
  return evaluation;
}

/** Creates the variable `self`, whose members render the blocks of the template. */
function blocksOf(evaluation: Evaluation): Value {
  return {
    type: 'object',
    value: null,
    label: 'TemplateReference',
    attribute: (name) => {
      const block = evaluation.template.blocks.get(name);
      return (
        block && callable(name, () => countCall(() => capture(evaluation, block.body, new Scope(evaluation.root))))
      );
    },
  };
}

function templateError(cause: unknown, file: string | undefined): WhetstoneError {
  if (isWhetstoneError(cause)) return cause;
  const place = file === undefined ? {} : { place: { file } };
  const limit = limitError(cause, file);
  if (limit !== null) return limit;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new WhetstoneError('TEMPLATE_FAILED', message, { ...place, cause });
}

/** Bounds of the JavaScript engine, with the words of its errors. */
const ENGINE_BOUNDS = [
  [/call stack/i, 'The template has an infinite recursion, or nests values too deeply.', 'the depth of the call stack'],
  [/Invalid (?:string|array) length/, 'A text or list of the template is too long.', 'the longest text or list'],
  [/BigInt/, 'An integer of the template is too large.', 'the largest integer'],
  [/maximum size/i, 'A dict of the template is too large.', 'the largest dict'],
] as const;

/** Returns the error of a bound; null if the cause is another. */
function limitError(cause: unknown, file: string | undefined): WhetstoneError | null {
  const engine =
    cause instanceof RangeError ? ENGINE_BOUNDS.find(([pattern]) => pattern.test(cause.message)) : undefined;
  if (engine === undefined && !(cause instanceof BoundExceeded)) return null;
  const [message, bound] =
    cause instanceof BoundExceeded ? [`${cause.message}.`, cause.bound] : [engine?.[1] ?? '', engine?.[2]];
  return new WhetstoneError('TEMPLATE_LIMIT', message, {
    ...(file === undefined ? {} : { place: { file } }),
    ...(bound === undefined ? {} : { expected: bound }),
    hint: 'Templates are bounded in time and memory. Simplify the template, or shorten the conversation.',
    cause,
  });
}

function parse(source: string, file: string | undefined): Template {
  try {
    return parseTemplate(source);
  } catch (cause) {
    const limit = limitError(cause, file);
    if (limit !== null) throw limit;
    const line = cause instanceof SyntaxProblem ? cause.line : undefined;
    throw new WhetstoneError('TEMPLATE_FAILED', `The template cannot be parsed: ${(cause as Error).message}`, {
      ...(file === undefined && line === undefined ? {} : { place: { file, line } }),
      cause,
    });
  }
}

/** Converts plain data to a runtime value. */
function toValue(data: unknown): Value {
  if (data === undefined) return missing;
  // New objects, because traces belong to the object.
  if (data === null) return { type: 'none', value: null };
  if (typeof data === 'string') return text(data);
  if (typeof data === 'boolean') return { type: 'bool', value: data };
  if (typeof data === 'number') return Number.isInteger(data) ? integer(data + 0) : float(data);
  if (isWrittenNumber(data)) return writtenValue(String(data));
  if (Array.isArray(data)) return list(data.map(toValue));
  return mapping(
    new Map(
      Object.entries(data)
        .filter(([, value]) => value !== undefined)
        .map(([key, value]) => [key, toValue(value)]),
    ),
  );
}

/** Converts a number of a data file that a JavaScript number would change. It prints as it was written. */
const writtenValue = (written: string): Value =>
  /^-?\d+$/.test(written) ? integer(BigInt(written)) : { type: 'float', value: Number(written), written };

type Origin = Extract<Trace['kind'], 'content' | 'result' | 'role'>;

/** Keys of a message of the assistant, and types of parts of its content, that hold results of tools. */
const RESULTS: readonly string[] = [
  'tool_response',
  'tool_responses',
  'tool_result',
  'tool_results',
  'tool_output',
  'tool_outputs',
  'observation',
  'observations',
];

/** Keys of a tool call that hold its result. */
const RESULTS_OF_CALL: readonly string[] = ['output', 'response', 'result', ...RESULTS];

/** Marks a message and all values in it as coming from this message. */
function markOrigin(value: Value, message: number, provenance: Provenance): void {
  const byAssistant = isMapping(value) && textIn(value, 'role') === 'assistant';
  const mark = (item: Value, kind: Origin, results: readonly string[]): void => {
    // Other values have no characters until they are printed.
    if (!isMissing(item))
      provenance.set(item, [{ start: 0, end: isText(item) ? item.value.length : 0, message, kind }]);
    if (isList(item)) for (const inner of item.value) mark(inner, kind, results);
    if (!isMapping(item)) return;
    const inside = kind === 'content' && results.includes(textIn(item, 'type') ?? '') ? 'result' : kind;
    for (const [key, inner] of item.value) mark(inner, ...originOf(key, inside, results));
  };
  mark(value, 'content', byAssistant ? RESULTS : []);
}

/** Returns the origin of the value of a key, and the keys below it that hold results. */
function originOf(key: string, kind: Origin, results: readonly string[]): [Origin, readonly string[]] {
  if (kind === 'content' && results.includes(key)) return ['result', []];
  // The arguments of a call may have any key.
  if (key === 'arguments') return [kind, []];
  if (key === 'tool_calls' && results.length > 0) return [kind, RESULTS_OF_CALL];
  return [key === 'role' ? 'role' : kind, results];
}

function textIn(value: DictValue, key: string): string | undefined {
  const found = value.value.get(key);
  return found !== undefined && isText(found) ? found.value : undefined;
}
