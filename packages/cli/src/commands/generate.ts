import { createInterface } from 'node:readline';
import { WhetstoneError, type Message, type TemplateVariables } from '@whetstone/core/contract';
import { generateText, type GeneratedText } from '@whetstone/models';
import { listenForInterrupt } from '../interrupt.js';
import { loadPlugins, type PluginOptions } from '../load-plugins.js';
import { openModel, type OpenModel, type OpenModelOptions } from '../open-model.js';
import { generationOptions, type SamplingOptions } from '../sampling.js';
import { createTerminal, type Terminal } from '../terminal.js';

export interface GenerateOptions extends OpenModelOptions, PluginOptions, SamplingOptions {
  readonly prompt: readonly string[];
  readonly system?: string;
  readonly templateVariables?: TemplateVariables;
  readonly raw?: boolean;
  /** Replies to each prompt. */
  readonly n: number;
  readonly batchSize: number;
  readonly beams: number;
  readonly lengthPenalty?: number;
  readonly logProbabilities?: number;
  readonly json?: boolean;
  readonly jsonLines?: boolean;
}

/** A reply, as the JSON output has it. */
interface Reply {
  readonly prompt: string;
  reply: string;
  tokens: number;
  finish: GeneratedText['finish'];
  logProbabilities?: NonNullable<GeneratedText['alternatives']>[];
}

/**
 * `whetstone generate MODEL`: prints the replies to prompts, in order. Prompts come from the command line or, if there
 * are none, from the lines of standard input. Several are answered at once.
 */
export async function generateReplies(model: string, options: GenerateOptions): Promise<void> {
  const terminal = createTerminal(options.json === true || options.jsonLines === true);
  const prompts = options.prompt.length > 0 ? options.prompt : await readLines();
  if (prompts.length === 0)
    throw new WhetstoneError('USAGE', 'No prompt was given.', {
      hint: 'Pass --prompt, or write one prompt per line to standard input.',
    });
  const interrupt = listenForInterrupt(() => {});
  const opened = await openModel(model, { ...options, plugins: await loadPlugins('strategy', options.plugin) });
  try {
    const replies = prompts.flatMap((prompt) =>
      Array.from({ length: options.n }, (): Reply => ({ prompt, reply: '', tokens: 0, finish: null })),
    );
    const show = options.jsonLines === true ? createLines(terminal, replies) : createTranscript(terminal, replies);
    const started = performance.now();
    for await (const part of partsOf(opened, prompts, options, interrupt.signal)) {
      addPart(replies[part.row], part);
      show(part);
    }
    const seconds = (performance.now() - started) / 1000;
    if (options.jsonLines === true) return;
    terminal.result({
      replies,
      seconds,
      tokensPerSecond: replies.reduce((sum, { tokens }) => sum + tokens, 0) / seconds,
      backend: opened.backend.backend,
      engine: opened.backend.engine,
    });
  } catch (error) {
    if (interrupt.signal.aborted)
      throw new WhetstoneError('INTERRUPTED', 'The generation was interrupted.', { cause: error });
    throw error;
  } finally {
    interrupt.close();
    opened.dispose();
  }
}

/** Renders the prompts and generates all replies. */
function partsOf(
  opened: OpenModel,
  prompts: readonly string[],
  options: GenerateOptions,
  signal: AbortSignal,
): AsyncIterable<GeneratedText> {
  const { raw = false, system, templateVariables, n, batchSize, beams, lengthPenalty, logProbabilities } = options;
  const before: readonly Message[] = system === undefined ? [] : [{ role: 'system', content: system }];
  const render = (content: string): string =>
    opened.renderer.renderPrompt([...before, { role: 'user', content }], undefined, templateVariables);
  return generateText(
    opened,
    raw ? prompts : prompts.map((prompt) => render(prompt)),
    { ...generationOptions(options), n, batchSize, beams, lengthPenalty, logProbabilities, addSpecialTokens: raw },
    signal,
  );
}

function addPart(reply: Reply | undefined, { text, tokens, finish, alternatives }: GeneratedText): void {
  if (reply === undefined) return;
  reply.reply += text;
  reply.tokens = tokens;
  reply.finish = finish;
  if (alternatives !== undefined) (reply.logProbabilities ??= []).push(alternatives);
}

/** Prints replies in order: the first unfinished one as it is generated, and later ones when it ends. */
function createTranscript(terminal: Terminal, replies: readonly Reply[]): (part: GeneratedText) => void {
  const { paint } = terminal;
  /** The reply that is printed. */
  let current = 0;
  const begin = (): void => {
    const reply = replies[current];
    if (reply === undefined) return;
    if (replies.length > 1) terminal.line(`${current === 0 ? '' : '\n'}${paint.dim(`> ${reply.prompt}`)}`);
    terminal.write(reply.reply);
  };
  return (part) => {
    if (part.row !== current) return;
    const isFirst = part.tokens === 1;
    if (isFirst && current === 0) begin();
    else terminal.write(part.text);
    while ((replies[current]?.finish ?? null) !== null) {
      terminal.line();
      current++;
      begin();
    }
  };
}

/** Prints one JSON object for each reply, as soon as it is complete. */
function createLines(terminal: Terminal, replies: readonly Reply[]): (part: GeneratedText) => void {
  let finished = 0;
  return ({ row, finish }) => {
    if (finish === null) return;
    finished++;
    terminal.redraw(finished < replies.length ? `${finished} of ${replies.length} replies` : '');
    terminal.result({ index: row, ...replies[row] });
  };
}

async function readLines(): Promise<string[]> {
  if (process.stdin.isTTY) return [];
  const lines: string[] = [];
  for await (const line of createInterface({ input: process.stdin })) if (line.trim() !== '') lines.push(line);
  return lines;
}
