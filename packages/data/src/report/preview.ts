import type { Conversation } from '@whetstone/core/contract';
import { visibleText } from '@whetstone/core/util';
import { textOf } from '../examples/message-text.js';

/** Characters of a message, and of a preview. */
const MESSAGE_CHARACTERS = 110;
const PREVIEW_CHARACTERS = 240;

/** Clips a text at the end of a character; `…` stands for the rest. */
function clip(text: string, most: number): string {
  if (text.length <= most) return text;
  return `${text.slice(0, most - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** Returns a text on one line, clipped, with symbols for control characters and line breaks. */
export const clippedText = (text: string, most = MESSAGE_CHARACTERS): string =>
  visibleText(clip(text.trim(), most).replaceAll('\r\n', '\n').replaceAll('\n', '↵').replaceAll('\t', ' '));

/** Returns the beginnings of the first and the last two turns on one line, for lists of samples. */
export function previewOf({ messages }: Conversation): string {
  const turns = messages.filter(({ role }) => role !== 'system');
  const shown = turns.length <= 3 ? turns : [...turns.slice(0, 1), ...turns.slice(-2)];
  const texts = shown.map((message) => `${message.role}: ${clippedText(textOf(message))}`);
  if (turns.length > 3) texts.splice(1, 0, '…');
  return clip(texts.join(' ⏎ '), PREVIEW_CHARACTERS + MESSAGE_CHARACTERS);
}
