import { createInterface } from 'node:readline';
import { WhetstoneError, type Message, type TemplateVariables } from '@whetstone/core/contract';
import { generateText } from '@whetstone/models';
import { listenForInterrupt } from '../interrupt.js';
import { loadPlugins, type PluginOptions } from '../load-plugins.js';
import { openModel, type OpenModelOptions } from '../open-model.js';
import { generationOptions, type SamplingOptions } from '../sampling.js';
import { createTerminal } from '../terminal.js';

export interface GenerateOptions extends OpenModelOptions, PluginOptions, SamplingOptions {
  readonly prompt: readonly string[];
  readonly system?: string;
  readonly templateVariables?: TemplateVariables;
  readonly raw?: boolean;
  readonly json?: boolean;
}

/**
 * `whetstone generate MODEL`: prints one reply per prompt. Prompts come from the command line or, if there are none,
 * from the lines of standard input.
 */
export async function generateReplies(model: string, options: GenerateOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const prompts = options.prompt.length > 0 ? options.prompt : await readLines();
  if (prompts.length === 0)
    throw new WhetstoneError('USAGE', 'No prompt was given.', {
      hint: 'Pass --prompt, or write one prompt per line to standard input.',
    });
  const interrupt = listenForInterrupt(() => {});
  const opened = await openModel(model, { ...options, plugins: await loadPlugins('strategy', options.plugin) });
  try {
    const replies = [];
    const started = performance.now();
    for (const [index, prompt] of prompts.entries()) {
      if (prompts.length > 1) terminal.line(`${index === 0 ? '' : '\n'}${terminal.paint.dim(`> ${prompt}`)}`);
      const system: readonly Message[] =
        options.system === undefined ? [] : [{ role: 'system', content: options.system }];
      const text =
        options.raw === true
          ? prompt
          : opened.renderer.renderPrompt(
              [...system, { role: 'user', content: prompt }],
              undefined,
              options.templateVariables,
            );
      let reply = '';
      let tokens = 0;
      let finish = null;
      for await (const part of generateText(
        opened,
        [text],
        { ...generationOptions(options), addSpecialTokens: options.raw === true },
        interrupt.signal,
      )) {
        terminal.write(part.text);
        reply += part.text;
        tokens = part.tokens;
        finish = part.finish ?? finish;
      }
      terminal.line();
      replies.push({ prompt, reply, tokens, finish });
    }
    const seconds = (performance.now() - started) / 1000;
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

async function readLines(): Promise<string[]> {
  if (process.stdin.isTTY) return [];
  const lines: string[] = [];
  for await (const line of createInterface({ input: process.stdin })) if (line.trim() !== '') lines.push(line);
  return lines;
}
