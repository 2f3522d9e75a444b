import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ChatRenderer, Conversation, Tokenizer } from '@whetstone/core/contract';
import { createConversationSource } from '@whetstone/data';
import { createRenderer } from '../../packages/models/src/chat-template/renderer.js';

/** What Python reads and transformers renders; make_rendered.py writes it. */
interface Fixture {
  readonly now: string;
  readonly templates: Readonly<Record<string, string>>;
  readonly rendered: readonly {
    readonly file: string;
    readonly line: number;
    readonly template: string;
    readonly text: string;
  }[];
  readonly parquetArguments: string;
}

export const casePath = (name: string): string => fileURLToPath(new URL(`cases/${name}`, import.meta.url));
export const fixture = JSON.parse(readFileSync(casePath('rendered.json'), 'utf8')) as Fixture;

/** Reads a case; `unreadable` lists the rows that are not conversations. */
export async function readCase(path: string): Promise<{
  readonly conversations: Conversation[];
  readonly unreadable: readonly { line?: number; reason: string }[];
}> {
  const source = await createConversationSource({ path }, '.');
  const conversations: Conversation[] = [];
  for await (const conversation of source.conversations()) conversations.push(conversation);
  return {
    conversations,
    unreadable: source.unreadable.map(({ origin: { line }, reason }) => ({
      ...(line === undefined ? {} : { line }),
      reason,
    })),
  };
}

/** A renderer of a template of the fixture; the texts of these tests need no tokens. */
export const rendererOf = (template: string): ChatRenderer =>
  createRenderer(template, {
    specialTokens: {},
    tokenizer: { eosTokenId: null } as unknown as Tokenizer,
    now: () => new Date(fixture.now),
  });

/** The texts that transformers renders from a file, with our renderer of the same template. */
export const renderedCases = (file: string) =>
  fixture.rendered
    .filter((one) => one.file === file)
    .map((one) => ({ ...one, renderer: rendererOf(fixture.templates[one.template] ?? '') }));
