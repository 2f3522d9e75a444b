import { WhetstoneError, type ContentPart, type Message } from '@whetstone/core/contract';
import { isRecord, parseExact } from '@whetstone/core/util';
import { rethrowLimit } from './limit.js';

/** Keys of a message that control training; templates do not see them. */
const trainingKeys: readonly string[] = ['train', 'weight', 'isPrompt'] satisfies (keyof Message)[];

/** The names of a message's reasoning. Templates read the first, or `thinking`. */
const REASONING = ['reasoning_content', 'thinking', 'reasoning'] as const;

/** The types of content parts that are reasoning, and the keys of their text. */
const REASONING_PARTS: readonly string[] = ['thinking', 'reasoning'];

/**
 * Returns a message as templates see it: without the keys that control training, with its reasoning under the names
 * that templates read, and with the arguments of tools as a mapping if the template expects one.
 *
 * @throws `TEMPLATE_FAILED` if the arguments are text that is not a JSON object, and the template expects a mapping
 */
export function forTemplate(message: Message, expectsMapping: () => boolean): Readonly<Record<string, unknown>> {
  const fields = Object.fromEntries(Object.entries(message).filter(([key]) => !trainingKeys.includes(key)));
  return withArguments(withReasoning(fields), expectsMapping);
}

type Fields = Readonly<Record<string, unknown>>;

function withReasoning(given: Fields): Fields {
  const fields = withoutReasoningParts(given);
  const name = REASONING.find((key) => fields[key] !== undefined && fields[key] !== null);
  return name === undefined ? fields : { thinking: fields[name], ...fields, reasoning_content: fields[name] };
}

/** Moves parts of the content that are reasoning into a field. If only text remains, it is joined. */
function withoutReasoningParts(fields: Fields): Fields {
  const { content } = fields;
  if (!Array.isArray(content)) return fields;
  const parts = content as readonly ContentPart[];
  const isReasoning = ({ type }: ContentPart): boolean => REASONING_PARTS.includes(type);
  if (!parts.some(isReasoning)) return fields;
  const rest = parts.filter((part) => !isReasoning(part));
  const reasoning = parts.filter(isReasoning).map((part) => String(part[part.type] ?? part.text ?? ''));
  const isPlain = rest.every(({ type }) => type === 'text');
  return {
    ...fields,
    content: isPlain ? rest.map(({ text }) => text ?? '').join('') : rest,
    reasoning_content: [fields['reasoning_content'] ?? '', ...reasoning].join(''),
  };
}

function withArguments(fields: Fields, expectsMapping: () => boolean): Fields {
  const calls = fields['tool_calls'];
  if (!Array.isArray(calls) || !calls.some((call: unknown) => typeof argumentsOf(call) === 'string')) return fields;
  return expectsMapping() ? { ...fields, tool_calls: calls.map(withParsedArguments) } : fields;
}

function argumentsOf(call: unknown): unknown {
  if (!isRecord(call)) return undefined;
  return isRecord(call['function']) ? call['function']['arguments'] : call['arguments'];
}

function withParsedArguments(call: unknown): unknown {
  const written = argumentsOf(call);
  if (typeof written !== 'string' || !isRecord(call)) return call;
  const parsed = { arguments: parseArguments(written) };
  return isRecord(call['function'])
    ? { ...call, function: { ...call['function'], ...parsed } }
    : { ...call, ...parsed };
}

function parseArguments(written: string): unknown {
  if (written.trim() === '') return {};
  let value: unknown;
  try {
    value = parseExact(written);
  } catch {
    value = undefined;
  }
  if (isRecord(value)) return value;
  throw new WhetstoneError('TEMPLATE_FAILED', 'The arguments of a tool call are text that is not a JSON object.', {
    expected: 'an object, or an object as JSON text, because the template reads the arguments as a mapping',
    found: written.length > 80 ? `${written.slice(0, 80)}…` : written,
  });
}

const PROBE = '{"whetstone_probe":"y"}';

/** Returns whether a template expects the arguments of tools as a mapping: it fails for text, or quotes it again. */
export function probeExpectsMapping(render: (messages: readonly Message[]) => string): boolean {
  const call = { type: 'function', function: { name: 'f', arguments: PROBE } } as const;
  const text = (messages: readonly Message[]): string | null => {
    try {
      return render(messages);
    } catch (error) {
      rethrowLimit(error);
      return null;
    }
  };
  const user: Message = { role: 'user', content: 'a' };
  const calling: Message = { role: 'assistant', content: '', tool_calls: [call] };
  return text([user, calling])?.includes(PROBE) !== true;
}
