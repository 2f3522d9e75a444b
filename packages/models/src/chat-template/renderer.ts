import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import {
  WhetstoneError,
  type ChatRenderer,
  type Message,
  type TemplateVariables,
  type Tokenizer,
  type ToolDefinition,
} from '@whetstone/core/contract';
import { listedStopTokens } from '@whetstone/core/files';
import type { FolderTokenizer } from '../tokenizer/index.js';
import { recipeFor } from '../recipes.js';
import { readTokenizerFiles } from '../tokenizer/index.js';
import { rethrowLimit } from './limit.js';
import { findStopTokens } from './stop-tokens.js';
import { compileTemplate, withinBounds, type CompiledTemplate, type TemplateOutput } from './template.js';
import { readTemplates } from './template-files.js';
import { forTemplate, probeExpectsMapping, probeReadsParts, type Expectations } from './message-fields.js';
import { findTurns, foreignSpans, generationSpans, regionStart } from './turns.js';

export interface RendererOptions {
  /** Variables of the template: `bos_token`, `eos_token` and so on. */
  readonly specialTokens: Readonly<Record<string, string>>;
  readonly tokenizer: Tokenizer;
  /** Path of the template, for error messages. */
  readonly file?: string;
  /** Clock of `strftime_now`; the system clock by default. */
  readonly now?: () => Date;
  /** Further stop tokens than those of the template and the tokenizer: those that the model's folder lists. */
  readonly listedStops?: readonly number[];
}

/** Options of {@link loadRenderer}. */
export interface LoadRendererOptions {
  /** Path of a chat template to use instead of the one in the folder. */
  readonly chatTemplatePath?: string | null;
  /** Clock of `strftime_now`; the system clock by default. */
  readonly now?: () => Date;
  /** An adapter's folder, whose generation_config.json may list further stop tokens. */
  readonly adapter?: string | null;
}

/**
 * Loads the chat renderer of a model folder. If the folder has no template, the renderer throws when it is used,
 * because completions and plain text do not need a template. Its stop tokens include those that the folder lists.
 *
 * @throws `TEMPLATE_FAILED` if a template cannot be read or parsed
 * @throws `MODEL_CONFIG_INVALID` if the file that lists the stop tokens is not a JSON object
 */
export async function loadRenderer(
  folder: string,
  tokenizer: FolderTokenizer,
  options: LoadRendererOptions = {},
): Promise<ChatRenderer> {
  const { adapter = null } = options;
  const { config } = await readTokenizerFiles(folder);
  const found = await readTemplates(folder, config, options.chatTemplatePath);
  const listedStops = [
    ...(await listedStopTokens(folder)),
    ...(adapter === null ? [] : await listedStopTokens(adapter)),
  ];
  if (found === null) return withoutTemplate(folder, withEnd(listedStops, tokenizer));
  // One time for the run and all of its threads.
  const time = options.now?.() ?? new Date();
  const renderer = createRenderer(found.templates, {
    specialTokens: tokenizer.specialTokens,
    tokenizer,
    file: found.file,
    now: () => time,
    listedStops,
  });
  const recipe =
    tokenizer.recipe === undefined
      ? undefined
      : recipeFor('remakeRenderer', {
          folder,
          chatTemplatePath: typeof options.chatTemplatePath === 'string' ? resolve(options.chatTemplatePath) : null,
          adapter: adapter === null ? null : resolve(adapter),
          now: time.toISOString(),
        });
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
  // One time for all conversations: a run that continues after midnight renders the same text.
  const now = options.now?.() ?? new Date();
  const choose = (tools: readonly ToolDefinition[] | undefined): CompiledTemplate =>
    chooseTemplate(compiled, tools !== undefined, options.file);
  const run = (
    messages: readonly Message[],
    tools: readonly ToolDefinition[] | undefined,
    addGenerationPrompt: boolean,
    variables: TemplateVariables = {},
  ): TemplateOutput =>
    choose(tools).run({
      messages: messages.map((message) => forTemplate(message, expectations(tools))),
      variables: {
        ...options.specialTokens,
        ...variables,
        tools: tools ?? null,
        documents: null,
        add_generation_prompt: addGenerationPrompt,
      },
      now,
    });
  const probed = new Map<CompiledTemplate, Expectations>();
  const expectations = (tools: readonly ToolDefinition[] | undefined): Expectations => {
    const key = choose(tools);
    const known = probed.get(key) ?? {
      expectsMapping: once(false, () => probeExpectsMapping((messages) => run(messages, tools, false).text)),
      readsParts: once(true, () => probeReadsParts((messages) => run(messages, tools, false).text)),
    };
    probed.set(key, known);
    return known;
  };

  const prompts = new Map<CompiledTemplate, string>();
  const generationPrompt = (tools: readonly ToolDefinition[] | undefined): string => {
    const key = choose(tools);
    let prompt = prompts.get(key);
    if (prompt === undefined)
      prompts.set(key, (prompt = findGenerationPrompt((messages, add) => run(messages, undefined, add))));
    return prompt;
  };

  const render: ChatRenderer['render'] = (messages, tools, variables) => {
    const output = run(messages, tools, false, variables);
    const { tagged } = choose(tools);
    const prompt = tagged && messages.every(({ role }) => role !== 'assistant') ? '' : generationPrompt(tools);
    const { turns, foreign } = withinBounds(options.file, () => {
      const found = findTurns({ output, messages, tagged, generationPrompt: prompt });
      return { turns: found, foreign: foreignSpans({ output, messages, generationPrompt: prompt }, found) };
    });
    return {
      text: output.text,
      turns,
      ...(tagged ? { generationSpans: generationSpans(output) } : {}),
      ...(foreign.length === 0 ? {} : { foreignSpans: foreign }),
    };
  };

  let stops: readonly number[] | undefined;
  return {
    hash: createHash('sha256')
      .update(JSON.stringify([[...named], Object.entries(options.specialTokens).sort()]))
      .digest('hex'),
    ...([...named.values()].some((source) => source.includes('strftime_now')) ? { time: now.toISOString() } : {}),
    render,
    renderPrompt: (messages, tools, variables) => run(messages, tools, true, variables).text,
    get stopTokenIds() {
      return (stops ??= [...new Set([...findStopTokens(render, options.tokenizer), ...(options.listedStops ?? [])])]);
    },
  };
}

/** Returns a function that probes a template at its first call; the probe itself sees `during`. */
function once(during: boolean, probe: () => boolean): () => boolean {
  let known: boolean | undefined;
  return () => {
    if (known === undefined) {
      known = during;
      known = probe();
    }
    return known;
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
    } catch (error) {
      rethrowLimit(error);
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

/** Returns the ids with the tokenizer's end token. */
const withEnd = (ids: readonly number[], { eosTokenId }: Tokenizer): readonly number[] => [
  ...new Set([...ids, ...(eosTokenId === null ? [] : [eosTokenId])]),
];

function withoutTemplate(folder: string, stopTokenIds: readonly number[]): ChatRenderer {
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
    stopTokenIds,
  };
}
