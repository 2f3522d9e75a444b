import type { Json, Message } from '@whetstone/core/contract';
import { describeValue, RowProblem } from '../reading/row.js';
import { keyOf, valueOf, type Layout, type LayoutOptions } from './layout.js';
import {
  furtherFields,
  readMessages,
  readOverrides,
  readTemplateVariables,
  readToolCalls,
  readTools,
} from './message-list.js';
import { checkText, listFromText, optionalText } from './values.js';
import { isRecord, ownValue, parseExact } from '@whetstone/core/util';

const ROLES: Readonly<Record<string, string>> = {
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  chatgpt: 'assistant',
  bing: 'assistant',
  bard: 'assistant',
  assistant: 'assistant',
  system: 'system',
  observation: 'tool',
  tool: 'tool',
};

/** Parses tool calls: JSON text `{"name", "arguments"}`, or a list of them. Returns null for any other text. */
function parseCalls(text: string): Message['tool_calls'] | null {
  let value: unknown;
  try {
    value = parseExact(text);
  } catch {
    return null;
  }
  const calls = Array.isArray(value) ? value : [value];
  if (!calls.every((call) => isRecord(call) && typeof call['name'] === 'string')) return null;
  return (calls as Record<string, Json>[]).map((call) => ({
    type: 'function',
    function: { name: call['name'] as string, arguments: call['arguments'] ?? {} },
  }));
}

function readTurn(value: unknown, path: string, options: LayoutOptions): Message {
  if (!isRecord(value)) throw new RowProblem(`${path} is ${describeValue(value)}; expected a turn {"from", "value"}`);
  const from = checkText(value[keyOf('from', options)], `${path}.${keyOf('from', options)}`);
  const content = checkText(value[keyOf('value', options)], `${path}.${keyOf('value', options)}`);
  const named = [keyOf('from', options), keyOf('value', options), 'train', 'weight', 'tool_calls'];
  const further = Object.fromEntries(Object.entries(value).filter(([key]) => !named.includes(key)));
  const written = readToolCalls(value['tool_calls'], `${path}.tool_calls`);
  const fields = {
    ...furtherFields(further, path),
    ...(written === undefined ? {} : { tool_calls: written }),
    ...readOverrides(value, path),
  };
  if (from === 'function_call') {
    const calls = parseCalls(content);
    return calls === null || calls === undefined
      ? { ...fields, role: 'assistant', content }
      : { ...fields, role: 'assistant', content: null, tool_calls: calls };
  }
  const role = ownValue(options.roles ?? {}, from) ?? ownValue(ROLES, from);
  if (role === undefined) {
    throw new RowProblem(
      `${path} is from the unknown role "${from}"; expected one of ${Object.keys(ROLES).join(', ')}, or a role that ` +
        '"roles" maps',
    );
  }
  return { ...fields, role, content };
}

/**
 * `{"conversations": [{"from": "human" | "gpt" | …, "value"}, …], "system"?, "tools"?}`; turns of the form `{"role",
 * "content"}` are read, too.
 */
export const shareGptLayout: Layout = {
  name: 'sharegpt',
  requires: ['conversations'],
  allows: ['system', 'tools', 'chat_template_kwargs'],
  read(record, options) {
    const path = keyOf('conversations', options);
    const turns = listFromText(valueOf(record, 'conversations', options));
    if (!Array.isArray(turns)) throw new RowProblem(`${path} is ${describeValue(turns)}; expected a list of turns`);
    if (turns.length === 0) throw new RowProblem(`${path} is an empty list; expected at least one turn`);
    const first: unknown = turns[0];
    const messages =
      isRecord(first) && keyOf('role', options) in first
        ? readMessages(turns, path, options)
        : turns.map((turn, index) => readTurn(turn, `${path}[${index}]`, options));
    const system = optionalText(valueOf(record, 'system', options), keyOf('system', options));
    const tools = readTools(valueOf(record, 'tools', options), keyOf('tools', options));
    return {
      form: 'chat',
      messages: system === undefined || system === '' ? messages : [{ role: 'system', content: system }, ...messages],
      ...(tools === undefined ? {} : { tools }),
      ...readTemplateVariables(record, options),
    };
  },
};
