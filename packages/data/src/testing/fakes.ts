import type { ChatRenderer, Message, TextSpan, Tokenizer } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';

/** A tokenizer for tests with one token per UTF-16 unit, and one token each for `<bos>` and `<eos>`. */
export const characterTokenizer: Tokenizer = {
  vocabularySize: 65_538,
  bosTokenId: 65_536,
  eosTokenId: 65_537,
  padTokenId: 0,
  encode(text, options) {
    const { ids } = characterTokenizer.encodeWithSpans(text);
    return options?.addSpecialTokens ? [65_536, ...ids] : [...ids];
  },
  encodeWithSpans(text) {
    const ids: number[] = [];
    const starts: number[] = [];
    const ends: number[] = [];
    for (let start = 0; start < text.length;) {
      const special = ['<bos>', '<eos>'].findIndex((token) => text.startsWith(token, start));
      const size = special === -1 ? 1 : 5;
      ids.push(special === -1 ? text.charCodeAt(start) : 65_536 + special);
      starts.push(start);
      ends.push(start + size);
      start += size;
    }
    return { ids, starts, ends };
  },
  decode: (ids) =>
    ids.map((id) => (id < 65_536 ? String.fromCharCode(id) : id === 65_536 ? '<bos>' : '<eos>')).join(''),
  tokenId: (token) =>
    ({ '<bos>': 65_536, '<eos>': 65_537 })[token] ?? (token.length === 1 ? token.charCodeAt(0) : undefined),
};

/** A renderer for tests that writes `role:content<eos>\n` per message, and nothing for the role `dropped`. */
export const plainRenderer: ChatRenderer = {
  hash: 'plain',
  stopTokenIds: [65_537],
  render(messages: readonly Message[]) {
    let text = '';
    const turns = messages.map((message): TextSpan | null => {
      if (message.role === 'dropped') return null;
      text += `${message.role}:`;
      const start = text.length;
      text += `${textOf(message)}<eos>`;
      const end = text.length;
      text += '\n';
      return { start, end };
    });
    return { text, turns };
  },
  renderPrompt: (messages) => `${plainRenderer.render(messages).text}assistant:`,
};

/** The tokenizer and renderer that worker threads create from the recipes of tests. */
export const remakeHashed = (): Tokenizer => ({ ...characterTokenizer, hash: 'characters' });
export const remakeRenderer = (): ChatRenderer => plainRenderer;
