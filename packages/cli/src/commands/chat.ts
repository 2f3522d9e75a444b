import {
  isWhetstoneError,
  WhetstoneError,
  type Message,
  type Plugin,
  type TemplateVariables,
} from '@whetstone/core/contract';
import { didYouMean } from '@whetstone/core/util';
import { generateReply } from '@whetstone/models';
import { beforeReply, messagesOf, newConversation, saveConversation, type Conversation } from '../chat/conversation.js';
import { createLineInput } from '../chat/line-input.js';
import { loadPlugins, type PluginOptions } from '../load-plugins.js';
import { openModel, type OpenModel, type OpenModelOptions } from '../open-model.js';
import { generationOptions, type SamplingOptions } from '../sampling.js';
import { createTerminal, errorAsText, type Terminal } from '../terminal.js';

export interface ChatOptions extends OpenModelOptions, PluginOptions, SamplingOptions {
  readonly system?: string;
  readonly templateVariables?: TemplateVariables;
}

const banner = '/help lists the commands. Ctrl-C stops a reply or clears the line, twice it quits; so does Ctrl-D.';

/** `whetstone chat MODEL`: a conversation on the terminal, with all earlier turns as context. */
export async function chat(model: string, options: ChatOptions): Promise<void> {
  const terminal = createTerminal(false);
  const plugins = await loadPlugins('strategy', options.plugin);
  const session = new ChatSession(model, options, plugins, await openModel(model, { ...options, plugins }), terminal);
  try {
    if (terminal.interactive) {
      terminal.line(terminal.paint.dim(session.backendReason));
      terminal.line(terminal.paint.dim(banner));
    }
    await converse(session, terminal);
  } finally {
    session.dispose();
  }
}

async function converse(session: ChatSession, terminal: Terminal): Promise<void> {
  const input = createLineInput({ terminal, stopReply: () => session.stopReply() });
  try {
    input.prompt();
    for await (const line of input) {
      const isCommand = line.startsWith('/') && !line.includes('\n');
      if (isCommand && ['/exit', '/quit', '/bye'].includes(line.trim())) break;
      if (isCommand) await session.command(line.trim());
      else if (line.trim() !== '') await session.say(line.trim());
      if (input.wasLeft) break;
      input.prompt();
    }
  } finally {
    input.close();
  }
  if (input.wasLeft) throw new WhetstoneError('INTERRUPTED', 'The conversation was interrupted.');
}

interface SlashCommand {
  readonly usage: string;
  readonly description: string;
  run(session: ChatSession, argument: string): Promise<void>;
}

/** The commands that a person can type instead of a message. */
const commands: Readonly<Record<string, SlashCommand>> = {
  help: { usage: '/help', description: 'lists the commands', run: async (session) => session.help() },
  system: {
    usage: '/system [TEXT]',
    description: 'shows the system message, or sets it for the next replies; - removes it',
    run: async (session, text) => session.system(text),
  },
  reset: {
    usage: '/reset',
    description: 'starts a new conversation with the same system message',
    run: async (session) => session.reset(),
  },
  retry: {
    usage: '/retry',
    description: 'answers the last message again, with another seed',
    run: (session) => session.retry(),
  },
  save: {
    usage: '/save FILE',
    description: 'appends the conversation to a JSON Lines file that train reads',
    run: (session, file) => session.save(file),
  },
  adapter: {
    usage: '/adapter [FOLDER]',
    description: 'shows the adapter, or replaces it; - removes it',
    run: (session, folder) => session.adapter(folder),
  },
  exit: { usage: '/exit', description: 'quits; so do /quit and /bye', run: async () => undefined },
};

/** A conversation with a model, whose adapter can be replaced. */
class ChatSession {
  private conversation: Conversation;
  private replying: AbortController | null = null;
  private retries = 0;

  constructor(
    private readonly model: string,
    private options: ChatOptions,
    private readonly plugins: readonly Plugin[],
    private opened: OpenModel,
    private readonly terminal: Terminal,
  ) {
    this.conversation = newConversation(options.system ?? null);
  }

  get backendReason(): string {
    return this.opened.backend.reason;
  }

  dispose(): void {
    this.opened.dispose();
  }

  /** Stops the reply that is being written. Returns false if there is none. */
  stopReply(): boolean {
    if (this.replying === null || this.replying.signal.aborted) return false;
    this.replying.abort();
    return true;
  }

  /** Answers a message. */
  async say(content: string): Promise<void> {
    this.retries = 0;
    const { turns } = this.conversation;
    await this.answer({ ...this.conversation, turns: [...turns, { role: 'user', content }] });
  }

  /** Runs what a line that starts with `/` says. Errors are shown, and the conversation continues. */
  async command(line: string): Promise<void> {
    const [, name = ''] = /^\/(\S*)/.exec(line) ?? [];
    const argument = line.slice(name.length + 1).trim();
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (command === undefined) {
      const suggestion =
        didYouMean(name, Object.keys(commands)) ?? 'A message that starts with / needs a space before.';
      this.tell(`Command /${name} not found. ${suggestion} /help lists the commands.`);
      return;
    }
    try {
      await command.run(this, argument);
    } catch (error) {
      if (!isWhetstoneError(error)) throw error;
      this.terminal.complain(errorAsText(error, this.terminal.paint));
    }
  }

  help(): void {
    for (const { usage, description } of Object.values(commands)) this.tell(`${usage.padEnd(18)}${description}`);
    this.tell('Pasted text of several lines is one message.');
  }

  system(text: string): void {
    const { system } = this.conversation;
    if (text === '') this.tell(system === null ? 'No system message is set.' : `The system message: ${system}`);
    else {
      this.conversation = { ...this.conversation, system: text === '-' ? null : text };
      this.tell(text === '-' ? 'The system message is removed.' : 'The next replies follow this system message.');
    }
  }

  reset(): void {
    this.conversation = newConversation(this.conversation.system);
    this.tell('A new conversation begins.');
  }

  async retry(): Promise<void> {
    const before = beforeReply(this.conversation);
    if (before === null) return this.tell('No message to answer again.');
    const { temperature } = generationOptions(this.options);
    if (temperature === 0) this.tell('Without --temperature, the same conversation has the same reply.');
    this.retries++;
    await this.answer(before);
  }

  async save(file: string): Promise<void> {
    if (file === '') this.tell('/save needs the name of a file.');
    else if (this.conversation.turns.length === 0) this.tell('The conversation is empty.');
    else this.tell(await saveConversation(this.conversation, file));
  }

  /** Opens the model again: an adapter may have a tokenizer, a template and a quantised base of its own. */
  async adapter(folder: string): Promise<void> {
    const { adapter } = this.options;
    if (folder === '') return this.tell(adapter === undefined ? 'No adapter is used.' : `The adapter: ${adapter}`);
    const next = { ...this.options, adapter: folder === '-' ? undefined : folder };
    this.opened.dispose();
    try {
      this.opened = await this.open(next);
    } catch (error) {
      this.opened = await this.open(this.options);
      throw error;
    }
    this.options = next;
    this.tell(folder === '-' ? 'The model replies without an adapter.' : `The model replies with ${folder}.`);
  }

  private open(options: ChatOptions): Promise<OpenModel> {
    return openModel(this.model, { ...options, plugins: this.plugins });
  }

  private tell(text: string): void {
    this.terminal.line(this.terminal.paint.dim(text));
  }

  private async answer(conversation: Conversation): Promise<void> {
    this.replying = new AbortController();
    try {
      const reply = await this.reply(messagesOf(conversation), this.replying.signal);
      if (reply === null) return;
      const turns: readonly Message[] = [...conversation.turns, { role: 'assistant', content: reply }];
      this.conversation = { ...conversation, turns };
    } finally {
      this.replying = null;
    }
  }

  /** Streams one reply. Returns null if the conversation is too long for the model. */
  private async reply(messages: Message[], signal: AbortSignal): Promise<string | null> {
    const { terminal, opened } = this;
    const { templateVariables } = this.options;
    let reply = '';
    try {
      const generation = {
        ...generationOptions({ ...this.options, seed: this.options.seed + this.retries }),
        ...(templateVariables === undefined ? {} : { templateVariables }),
      };
      for await (const { text } of generateReply(opened, messages, generation, signal)) {
        reply += text;
        terminal.write(text);
      }
      terminal.line();
    } catch (error) {
      if (signal.aborted) this.tell(' … stopped');
      else if (isWhetstoneError(error) && error.code === 'CONTEXT_EXCEEDED') {
        terminal.complain(errorAsText(error, terminal.paint));
        terminal.complain('/reset starts a new conversation.');
        return null;
      } else throw error;
    }
    return reply;
  }
}
