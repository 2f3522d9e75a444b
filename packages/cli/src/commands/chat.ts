import { createInterface } from 'node:readline';
import { isWhetstoneError, WhetstoneError, type Message, type TemplateVariables } from '@whetstone/core/contract';
import { generateReply } from '@whetstone/models';
import { loadPlugins, type PluginOptions } from '../load-plugins.js';
import { openModel, type OpenModel, type OpenModelOptions } from '../open-model.js';
import { generationOptions, type SamplingOptions } from '../sampling.js';
import { styledText } from '../styles.js';
import { createTerminal, errorAsText, type Terminal } from '../terminal.js';

export interface ChatOptions extends OpenModelOptions, PluginOptions, SamplingOptions {
  readonly system?: string;
  readonly templateVariables?: TemplateVariables;
}

const help = '/reset starts a new conversation, /exit or Ctrl-D quits, Ctrl-C stops a reply.';

/** `whetstone chat MODEL`: a conversation on the terminal, with all earlier turns as context. */
export async function chat(model: string, options: ChatOptions): Promise<void> {
  const terminal = createTerminal(false);
  const opened = await openModel(model, { ...options, plugins: await loadPlugins('strategy', options.plugin) });
  try {
    if (terminal.interactive) {
      terminal.line(terminal.paint.dim(opened.backend.reason));
      terminal.line(terminal.paint.dim(help));
    }
    await converse(terminal, opened, options);
  } finally {
    opened.dispose();
  }
}

async function converse(terminal: Terminal, opened: OpenModel, options: ChatOptions): Promise<void> {
  const beginning: readonly Message[] =
    options.system === undefined ? [] : [{ role: 'system', content: options.system }];
  let messages = [...beginning];
  let replying: AbortController | null = null;
  let left = false;
  const input = createInterface({
    input: process.stdin,
    output: terminal.interactive ? process.stdout : undefined,
    terminal: terminal.interactive && process.stdin.isTTY,
    prompt: styledText(terminal.paint.bold('> ')),
  });
  const interrupted = (): void => {
    if (replying !== null && !replying.signal.aborted) replying.abort();
    else {
      left = true;
      input.close();
    }
  };
  input.on('SIGINT', interrupted);
  process.on('SIGINT', interrupted);
  try {
    if (terminal.interactive) input.prompt();
    for await (const line of input) {
      const text = line.trim();
      if (text === '/exit' || text === '/quit') break;
      if (text === '/reset') {
        messages = [...beginning];
        terminal.line(terminal.paint.dim('A new conversation begins.'));
      } else if (text.startsWith('/')) terminal.line(terminal.paint.dim(help));
      else if (text !== '') {
        replying = new AbortController();
        messages = await takeTurn(
          terminal,
          opened,
          [...messages, { role: 'user', content: text }],
          options,
          replying.signal,
        );
        replying = null;
      }
      if (terminal.interactive) input.prompt();
    }
  } finally {
    process.off('SIGINT', interrupted);
    input.close();
  }
  if (left) throw new WhetstoneError('INTERRUPTED', 'The conversation was interrupted.');
}

/** Streams one reply. @returns the conversation with the reply, or without its last message if there is no reply */
async function takeTurn(
  terminal: Terminal,
  opened: OpenModel,
  messages: Message[],
  options: ChatOptions,
  signal: AbortSignal,
): Promise<Message[]> {
  let reply = '';
  try {
    const { templateVariables } = options;
    const generation = {
      ...generationOptions(options),
      ...(templateVariables === undefined ? {} : { templateVariables }),
    };
    for await (const { text } of generateReply(opened, messages, generation, signal)) {
      reply += text;
      terminal.write(text);
    }
    terminal.line();
  } catch (error) {
    if (signal.aborted) terminal.line(terminal.paint.dim(' … stopped'));
    else if (isWhetstoneError(error) && error.code === 'CONTEXT_EXCEEDED') {
      terminal.complain(errorAsText(error, terminal.paint));
      terminal.complain('/reset starts a new conversation.');
      return messages.slice(0, -1);
    } else throw error;
  }
  return [...messages, { role: 'assistant', content: reply }];
}
