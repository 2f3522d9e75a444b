import type { ContentPart, Message, ToolDefinition } from '@whetstone/core/contract';
import { describeValue, RowProblem } from '../reading/row.js';
import { keyOf, type LayoutOptions } from './layout.js';
import { checkJson, checkText, listFromText } from './values.js';
import { isRecord } from '@whetstone/core/util';

function readContent(content: unknown, hasCalls: boolean, place: string): Message['content'] {
  if (content === undefined || content === null) {
    if (hasCalls) return null;
    throw new RowProblem(`${place} is missing`);
  }
  if (!Array.isArray(content)) return checkText(content, place);
  for (const [index, part] of content.entries()) {
    if (!isRecord(part) || typeof part['type'] !== 'string')
      throw new RowProblem(`${place}[${index}] is not a part {"type": …}`);
    if (part['type'] === 'text') checkText(part['text'], `${place}[${index}].text`);
  }
  return checkJson(content, place) as unknown as readonly ContentPart[];
}

function readToolCalls(calls: unknown, place: string): Message['tool_calls'] {
  if (calls === undefined || calls === null) return undefined;
  if (!Array.isArray(calls)) throw new RowProblem(`${place} is ${describeValue(calls)}, where a list is expected`);
  for (const [index, call] of calls.entries()) {
    const target: unknown = isRecord(call) ? (call['function'] ?? call) : undefined;
    if (!isRecord(target) || typeof target['name'] !== 'string')
      throw new RowProblem(`${place}[${index}] names no function`);
  }
  return checkJson(calls, place) as unknown as Message['tool_calls'];
}

/** What a turn says of its own learning: `train` and `weight`. Throws RowProblem. */
export function readOverrides(
  { train, weight }: { readonly train?: unknown; readonly weight?: unknown },
  place: string,
): Pick<Message, 'train' | 'weight'> {
  if (train !== undefined && train !== null && typeof train !== 'boolean')
    throw new RowProblem(`${place}.train is ${describeValue(train)}, where true or false is expected`);
  if (
    weight !== undefined &&
    weight !== null &&
    !(typeof weight === 'number' && Number.isFinite(weight) && weight >= 0)
  )
    throw new RowProblem(`${place}.weight is ${describeValue(weight)}, where a number from 0 on is expected`);
  return { ...(typeof train === 'boolean' ? { train } : {}), ...(typeof weight === 'number' ? { weight } : {}) };
}

/** Reads one `{role, content, tool_calls?, train?, …}`; keys that are not known are kept, as templates may use them. */
function readMessage(value: unknown, place: string, options: LayoutOptions): Message {
  if (!isRecord(value))
    throw new RowProblem(`${place} is ${describeValue(value)}, where a message {"role", "content"} is expected`);
  const roleKey = keyOf('role', options);
  const contentKey = keyOf('content', options);
  const { [roleKey]: rawRole, [contentKey]: rawContent, tool_calls: rawCalls, train, weight, ...further } = value;
  // Parquet gives every message every field; a template must not take a null for a field that is there.
  const others = Object.values(further).includes(null)
    ? Object.fromEntries(Object.entries(further).filter(([, field]) => field !== null))
    : further;
  const named = checkText(rawRole, `${place}.${roleKey}`);
  if (named === '') throw new RowProblem(`${place}.${roleKey} is empty`);
  const calls = readToolCalls(rawCalls, `${place}.tool_calls`);
  checkJson(others, place);
  return {
    ...others,
    role: options.roles?.[named] ?? named,
    content: readContent(rawContent, calls !== undefined && calls.length > 0, `${place}.${contentKey}`),
    ...(calls === undefined ? {} : { tool_calls: calls }),
    ...readOverrides({ train, weight }, place),
  };
}

/** Reads a list of messages; `place` names it in what goes wrong. Throws RowProblem. */
export function readMessages(given: unknown, place: string, options: LayoutOptions): Message[] {
  const value = listFromText(given);
  if (!Array.isArray(value))
    throw new RowProblem(`${place} is ${describeValue(value)}, where a list of messages is expected`);
  if (value.length === 0) throw new RowProblem(`${place} holds no message`);
  return value.map((message, index) => readMessage(message, `${place}[${index}]`, options));
}

/** Reads tool definitions: a list, or a list written as JSON text (as Parquet and CSV files carry it). */
export function readTools(value: unknown, place: string): readonly ToolDefinition[] | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  let tools: unknown = value;
  if (typeof value === 'string') {
    try {
      tools = JSON.parse(value) as unknown;
    } catch {
      throw new RowProblem(`${place} is text, but not JSON`);
    }
  }
  if (!Array.isArray(tools))
    throw new RowProblem(`${place} is ${describeValue(tools)}, where a list of tools is expected`);
  return tools.length === 0 ? undefined : (checkJson(tools, place) as readonly ToolDefinition[]);
}
