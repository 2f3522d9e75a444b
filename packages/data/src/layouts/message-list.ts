import type {
  ContentPart,
  Conversation,
  Json,
  Message,
  TemplateVariables,
  ToolDefinition,
} from '@whetstone/core/contract';
import { describeValue, RowProblem } from '../reading/row.js';
import { keyOf, valueOf, type DataRecord, type LayoutOptions } from './layout.js';
import { checkJson, checkText, listFromText } from './values.js';
import { isRecord, isWrittenNumber, ownValue, parseExact } from '@whetstone/core/util';

function readContent(content: unknown, hasCalls: boolean, path: string): Message['content'] {
  if (content === undefined || content === null) {
    if (hasCalls) return null;
    throw new RowProblem(`${path} is missing`);
  }
  if (!Array.isArray(content)) return checkText(content, path);
  for (const [index, part] of content.entries()) {
    if (!isRecord(part) || typeof part['type'] !== 'string')
      throw new RowProblem(`${path}[${index}] is ${describeValue(part)}; expected a content part {"type": …}`);
    if (part['type'] === 'text') checkText(part['text'], `${path}[${index}].text`);
  }
  return checkJson(content, path) as unknown as readonly ContentPart[];
}

/**
 * Reads the tool calls of a turn.
 *
 * @throws `RowProblem` if they are not a list of calls with names
 */
export function readToolCalls(calls: unknown, path: string): Message['tool_calls'] {
  if (calls === undefined || calls === null) return undefined;
  if (!Array.isArray(calls)) throw new RowProblem(`${path} is ${describeValue(calls)}; expected a list`);
  for (const [index, call] of calls.entries()) {
    const target: unknown = isRecord(call) ? (call['function'] ?? call) : undefined;
    if (!isRecord(target) || typeof target['name'] !== 'string')
      throw new RowProblem(`${path}[${index}] has no function name`);
  }
  return checkJson(calls, path) as unknown as Message['tool_calls'];
}

/**
 * Reads the fields `train` and `weight` of a turn.
 *
 * @throws `RowProblem` if a field has another type, or the weight is negative
 */
export function readOverrides(
  { train, weight: written }: { readonly train?: unknown; readonly weight?: unknown },
  path: string,
): Pick<Message, 'train' | 'weight'> {
  const weight = isWrittenNumber(written) ? Number(written) : written;
  if (train !== undefined && train !== null && typeof train !== 'boolean')
    throw new RowProblem(`${path}.train is ${describeValue(train)}; expected true or false`);
  if (
    weight !== undefined &&
    weight !== null &&
    !(typeof weight === 'number' && Number.isFinite(weight) && weight >= 0)
  )
    throw new RowProblem(`${path}.weight is ${describeValue(weight)}; expected a number of at least 0`);
  return { ...(typeof train === 'boolean' ? { train } : {}), ...(typeof weight === 'number' ? { weight } : {}) };
}

/**
 * Returns the fields of a message that no layout knows, as templates may use them. In Parquet files every message has
 * every field; templates must not see the null ones.
 *
 * @throws `RowProblem` if a text is damaged
 */
export function furtherFields(fields: Readonly<Record<string, unknown>>, path: string): Record<string, Json> {
  const given = Object.fromEntries(Object.entries(fields).filter(([, field]) => field !== null));
  return checkJson(given, path) as Record<string, Json>;
}

/** Reads one `{role, content, tool_calls?, train?, …}`; unknown keys are kept, as templates may use them. */
function readMessage(value: unknown, path: string, options: LayoutOptions): Message {
  if (!isRecord(value))
    throw new RowProblem(`${path} is ${describeValue(value)}; expected a message {"role", "content"}`);
  const roleKey = keyOf('role', options);
  const contentKey = keyOf('content', options);
  const { [roleKey]: rawRole, [contentKey]: rawContent, tool_calls: rawCalls, train, weight, ...further } = value;
  const others = furtherFields(further, path);
  const named = checkText(rawRole, `${path}.${roleKey}`);
  if (named === '') throw new RowProblem(`${path}.${roleKey} is empty`);
  const calls = readToolCalls(rawCalls, `${path}.tool_calls`);
  return {
    ...others,
    role: ownValue(options.roles ?? {}, named) ?? named,
    content: readContent(rawContent, calls !== undefined && calls.length > 0, `${path}.${contentKey}`),
    ...(calls === undefined ? {} : { tool_calls: calls }),
    ...readOverrides({ train, weight }, path),
  };
}

/**
 * Reads a list of messages.
 *
 * @param path the list's key in the row, for error messages
 * @throws `RowProblem` if the value is not a list of messages
 */
export function readMessages(given: unknown, path: string, options: LayoutOptions): Message[] {
  const value = listFromText(given);
  if (!Array.isArray(value)) throw new RowProblem(`${path} is ${describeValue(value)}; expected a list of messages`);
  if (value.length === 0) throw new RowProblem(`${path} is an empty list; expected at least one message`);
  return value.map((message, index) => readMessage(message, `${path}[${index}]`, options));
}

/** Reads tool definitions: a list, or a list as JSON text, which is usual in Parquet and CSV files. */
export function readTools(value: unknown, path: string): readonly ToolDefinition[] | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  let tools: unknown = value;
  if (typeof value === 'string') {
    try {
      tools = parseExact(value);
    } catch {
      throw new RowProblem(`${path} is text that is not valid JSON; expected a list of tools`);
    }
  }
  if (!Array.isArray(tools)) throw new RowProblem(`${path} is ${describeValue(tools)}; expected a list of tools`);
  return tools.length === 0 ? undefined : (checkJson(tools, path) as readonly ToolDefinition[]);
}

/** Reads the variables of the chat template of a row: an object, or an object as JSON text. */
export function readTemplateVariables(
  record: DataRecord,
  options: LayoutOptions,
): Pick<Conversation, 'templateVariables'> {
  const path = keyOf('chat_template_kwargs', options);
  const given = valueOf(record, 'chat_template_kwargs', options);
  if (given === undefined || given === null || given === '') return {};
  let variables: unknown = given;
  if (typeof given === 'string') {
    try {
      variables = parseExact(given);
    } catch {
      throw new RowProblem(`${path} is text that is not valid JSON; expected an object of template variables`);
    }
  }
  if (!isRecord(variables))
    throw new RowProblem(`${path} is ${describeValue(variables)}; expected an object of template variables`);
  return { templateVariables: checkJson(variables, path) as TemplateVariables };
}
