import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { isWrittenNumber } from '@whetstone/core/util';
import { createEvaluator } from './evaluate.js';
import { library, scopeWithin, type Environment, type Node, type Value } from './library.js';
import { createCallables, type Callables, type Native } from './macros.js';
import { createProvenance, type Provenance, type Trace } from './provenance.js';
import { markGenerationTags } from './source.js';
import { strftime } from './strftime.js';
import {
  flag,
  integer,
  isList,
  isMapping,
  isNumber,
  isText,
  list,
  mapping,
  missing,
  none,
  printed,
  text,
  writtenValue,
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
   * @throws `TEMPLATE_FAILED` if the template fails
   */
  run(run: TemplateRun): TemplateOutput;
}

/** Maximum length of a range in Jinja's sandbox. */
const MAX_RANGE = 100_000;

/**
 * Parses a chat template.
 *
 * @throws `TEMPLATE_FAILED` if the template has a syntax error; with the line if it is known
 */
export function compileTemplate(template: string, file?: string): CompiledTemplate {
  const { source, tagged } = markGenerationTags(template);
  const program = parse(source, file);
  // Globals are shared by all runs; only the time changes.
  const clock = { now: new Date(0) };
  const builtIns = new library.Environment();
  const functions = createCallables();
  declareGlobals(builtIns, functions, clock);
  return {
    tagged,
    run({ messages, variables, now }) {
      clock.now = now;
      const provenance = createProvenance();
      const callables = createCallables(functions);
      const globals = scopeWithin(builtIns);
      for (const [name, value] of Object.entries(variables)) globals.setVariable(name, toValue(value));
      const positions = new Map<Value, number>();
      const values = messages.map((message, index) => {
        const value = toValue(message);
        positions.set(value, index);
        markOrigin(value, index, provenance);
        return value;
      });
      globals.setVariable('messages', list(values));
      const evaluate = createEvaluator({ provenance, callables, messageOf: (value) => positions.get(value) }, globals);
      try {
        const result = evaluate(program);
        return { text: printed(result), traces: provenance.of(result) };
      } catch (cause) {
        throw templateError(cause, file);
      }
    },
  };
}

function templateError(cause: unknown, file: string | undefined): WhetstoneError {
  if (isWhetstoneError(cause)) return cause;
  const message =
    cause instanceof RangeError && /call stack/i.test(cause.message)
      ? 'the template has an infinite recursion'
      : cause instanceof Error
        ? cause.message
        : String(cause);
  return new WhetstoneError('TEMPLATE_FAILED', message, { ...(file === undefined ? {} : { place: { file } }), cause });
}

function parse(source: string, file: string | undefined): Node {
  let furthest = 0;
  let tokens: ReturnType<typeof library.tokenize> = [];
  try {
    tokens = library.tokenize(source, { lstrip_blocks: true, trim_blocks: true });
    const trackedTokens = new Proxy(tokens, {
      get(target, key, receiver) {
        if (typeof key === 'string' && /^\d+$/.test(key)) furthest = Math.max(furthest, Number(key));
        return Reflect.get(target, key, receiver) as unknown;
      },
    });
    return library.parse(trackedTokens);
  } catch (cause) {
    const line =
      tokens.length === 0
        ? undefined
        : lineOfToken(
            source,
            tokens.map(({ value }) => value),
            furthest,
          );
    throw new WhetstoneError('TEMPLATE_FAILED', `The template cannot be parsed: ${(cause as Error).message}`, {
      ...(file === undefined && line === undefined ? {} : { place: { file, line } }),
      cause,
    });
  }
}

/** Returns the line of the token that the parser read last; the parser itself does not report a position. */
function lineOfToken(source: string, tokens: readonly string[], last: number): number {
  let at = 0;
  for (const token of tokens.slice(0, last)) {
    const found = source.indexOf(token, at);
    if (found >= 0) at = found + token.length;
  }
  return source.slice(0, at).split('\n').length;
}

/** Converts plain data to a runtime value. */
function toValue(data: unknown): Value {
  if (data === undefined) return missing;
  if (data === null) return none;
  if (typeof data === 'string') return text(data);
  if (typeof data === 'boolean') return flag(data);
  if (typeof data === 'number')
    return Number.isInteger(data) ? integer(data + 0) : new library.Environment().set('number', data);
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

/** Marks a message and all values in it as coming from this message. */
function markOrigin(value: Value, message: number, provenance: Provenance, kind: 'content' | 'role' = 'content'): void {
  // Other values have no characters until they are printed.
  provenance.set(value, [{ start: 0, end: isText(value) ? value.value.length : 0, message, kind }]);
  if (isList(value)) for (const item of value.value) markOrigin(item, message, provenance, kind);
  if (isMapping(value))
    for (const [key, item] of value.value) markOrigin(item, message, provenance, key === 'role' ? 'role' : kind);
}

function declareGlobals(globals: Environment, callables: Callables, clock: { readonly now: Date }): void {
  for (const [name, value] of Object.entries({
    true: flag(true),
    True: flag(true),
    false: flag(false),
    False: flag(false),
    none,
    None: none,
  }))
    globals.setVariable(name, value);
  const natives: Readonly<Record<string, Native>> = {
    raise_exception: ({ positional }) => {
      throw new Error(printed(positional[0] ?? missing));
    },
    strftime_now: ({ positional }) => text(strftime(clock.now, printed(positional[0] ?? missing))),
    range: ({ positional }) => list(range(positional).map(integer)),
    dict: ({ keywords }) => mapping(keywords),
  };
  for (const [name, native] of Object.entries(natives)) globals.setVariable(name, callables.define(native));
}

function range(positional: readonly Value[]): number[] {
  const numbers = positional.map((value) => {
    if (value.type !== 'IntegerValue' || !isNumber(value)) throw new Error('range() requires integers');
    return value.value;
  });
  const [start, stop, step] =
    numbers.length === 1 ? [0, numbers[0] ?? 0, 1] : [numbers[0] ?? 0, numbers[1] ?? 0, numbers[2] ?? 1];
  if (step === 0) throw new Error('range() arg 3 must not be zero');
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (count > MAX_RANGE)
    throw new Error(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}
