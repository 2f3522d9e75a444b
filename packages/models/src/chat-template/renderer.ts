import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import {
  WhetstoneError,
  type ChatRenderer,
  type Message,
  type RenderedConversation,
  type Tokenizer,
  type ToolDefinition,
} from '@whetstone/core/contract';
import type { FolderTokenizer } from '../tokenizer/index.js';
import { recipeFor } from '../recipes.js';
import { readTokenizerFiles } from '../tokenizer/index.js';
import { findStopTokens } from './stop-tokens.js';
import { compileTemplate, type CompiledTemplate, type TemplateOutput } from './template.js';
import { readTemplates } from './template-files.js';
import { findTurns, generationSpans, regionStart } from './turns.js';

export interface RendererOptions {
  /** Variables of the template: `bos_token`, `eos_token` and so on. */
  readonly specialTokens: Readonly<Record<string, string>>;
  readonly tokenizer: Tokenizer;
  /** Path of the template, for error messages. */
  readonly file?: string;
  /** Clock of `strftime_now`; the system clock by default. */
  readonly now?: () => Date;
}

/**
 * Loads the chat renderer of a model folder. If the folder has no template, the renderer throws when it is used,
 * because completions and plain text do not need a template.
 *
 * @throws `TEMPLATE_FAILED` if a template cannot be read or parsed
 */
export async function loadRenderer(
  folder: string,
  tokenizer: FolderTokenizer,
  options: { readonly chatTemplatePath?: string | null; readonly now?: () => Date } = {},
): Promise<ChatRenderer> {
  const { config } = await readTokenizerFiles(folder);
  const found = await readTemplates(folder, config, options.chatTemplatePath);
  const { now } = options;
  if (found === null) return withoutTemplate(folder, tokenizer);
  const renderer = createRenderer(found.templates, {
    specialTokens: tokenizer.specialTokens,
    tokenizer,
    file: found.file,
    ...(now === undefined ? {} : { now }),
  });
  // A custom clock cannot be sent to another thread.
  const recipe =
    now === undefined && tokenizer.recipe !== undefined
      ? recipeFor('remakeRenderer', {
          folder,
          chatTemplatePath: typeof options.chatTemplatePath === 'string' ? resolve(options.chatTemplatePath) : null,
        })
      : undefined;
  return Object.assign(renderer, recipe === undefined ? {} : { recipe });
}

/**
 * Creates a renderer from one template or from named templates: `tool_use` renders conversations with tools, `default`
 * all others.
 *
 * @throws `TEMPLATE_FAILED` if a template cannot be parsed
 */
export function createRenderer(template: string | ReadonlyMap<string, string>, options: RendererOptions): ChatRenderer {
  const named = typeof template === 'string' ? new Map([['default', template]]) : template;
  const compiled = new Map([...named].map(([name, source]) => [name, compileTemplate(source, options.file)]));
  const choose = (tools: readonly ToolDefinition[] | undefined): CompiledTemplate =>
    chooseTemplate(compiled, tools !== undefined, options.file);
  const run = (
    messages: readonly Message[],
    tools: readonly ToolDefinition[] | undefined,
    addGenerationPrompt: boolean,
  ): TemplateOutput =>
    choose(tools).run({
      messages: messages.map(withoutTrainingKeys),
      variables: {
        ...options.specialTokens,
        tools: tools ?? null,
        documents: null,
        add_generation_prompt: addGenerationPrompt,
      },
      now: options.now?.() ?? new Date(),
    });

  const prompts = new Map<CompiledTemplate, string>();
  const generationPrompt = (tools: readonly ToolDefinition[] | undefined): string => {
    const key = choose(tools);
    let prompt = prompts.get(key);
    if (prompt === undefined)
      prompts.set(key, (prompt = findGenerationPrompt((messages, add) => run(messages, undefined, add))));
    return prompt;
  };

  const render = (messages: readonly Message[], tools?: readonly ToolDefinition[]): RenderedConversation => {
    const output = run(messages, tools, false);
    const { tagged } = choose(tools);
    const turns = findTurns({
      output,
      messages,
      tagged,
      generationPrompt: tagged && messages.every(({ role }) => role !== 'assistant') ? '' : generationPrompt(tools),
    });
    return { text: output.text, turns, ...(tagged ? { generationSpans: generationSpans(output) } : {}) };
  };

  let stops: readonly number[] | undefined;
  return {
    hash: createHash('sha256')
      .update(JSON.stringify([[...named], Object.entries(options.specialTokens).sort()]))
      .digest('hex'),
    render,
    renderPrompt: (messages, tools) => run(messages, tools, true).text,
    get stopTokenIds() {
      return (stops ??= findStopTokens(render, options.tokenizer));
    },
  };
}

/**
 * Chooses one of the templates of a model.
 *
 * @throws `TEMPLATE_FAILED` if there are several, and none is named `default`
 */
function chooseTemplate(
  compiled: ReadonlyMap<string, CompiledTemplate>,
  hasTools: boolean,
  file: string | undefined,
): CompiledTemplate {
  const chosen =
    (hasTools ? compiled.get('tool_use') : undefined) ??
    compiled.get('default') ??
    (compiled.size === 1 ? [...compiled.values()][0] : undefined);
  if (chosen === undefined)
    throw new WhetstoneError('TEMPLATE_FAILED', 'The model has several chat templates, but none is named default.', {
      ...(file === undefined ? {} : { place: { file } }),
      found: [...compiled.keys()].join(', '),
    });
  return chosen;
}

/** Keys of a message that control training; templates do not see them. */
const trainingKeys: readonly string[] = ['train', 'weight', 'isPrompt'] satisfies (keyof Message)[];

function withoutTrainingKeys(message: Message): Readonly<Record<string, unknown>> {
  if (trainingKeys.every((key) => message[key] === undefined)) return { ...message };
  return Object.fromEntries(Object.entries(message).filter(([key]) => !trainingKeys.includes(key)));
}

/**
 * Finds the generation prompt: the text before the assistant's reply. It renders the first probe conversation that the
 * template accepts. The prompt starts where the assistant's turn would start, or else after the conversation.
 */
function findGenerationPrompt(
  run: (messages: readonly Message[], addGenerationPrompt: boolean) => TemplateOutput,
): string {
  for (const messages of PROBES) {
    try {
      const prompted = run(messages, true).text;
      const answered = [...messages, { role: 'assistant', content: 'b' }];
      const output = run(answered, false);
      const start = regionStart(output, answered, messages.length);
      if (start !== undefined && start <= prompted.length && prompted.startsWith(output.text.slice(0, start)))
        return prompted.slice(start);
      const without = run(messages, false).text;
      if (prompted.startsWith(without)) return prompted.slice(without.length);
    } catch {
      // The template rejects this conversation; try the next one.
    }
  }
  return '';
}

const user: Message = { role: 'user', content: 'a' };
const PROBES: readonly (readonly Message[])[] = [
  [user],
  [{ role: 'system', content: 's' }, user],
  [{ role: 'user', content: [{ type: 'text', text: 'a' }] }],
];

function withoutTemplate(folder: string, tokenizer: Tokenizer): ChatRenderer {
  const rejectUse = (): never => {
    throw new WhetstoneError('TEMPLATE_FAILED', 'The model has no chat template.', {
      place: { file: folder },
      expected: 'chat_template.jinja, or chat_template in tokenizer_config.json',
      hint: 'Set chatTemplatePath, or train on completions or plain text.',
    });
  };
  return {
    hash: createHash('sha256').update('').digest('hex'),
    render: rejectUse,
    renderPrompt: rejectUse,
    stopTokenIds: tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId],
  };
}
