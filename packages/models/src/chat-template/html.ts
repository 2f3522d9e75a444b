import { countRead } from './bounds.js';
import { inPieces } from './bounded-text.js';

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};

/** Escapes text for HTML. */
export function escapeHtml(plain: string): string {
  if (!/[&<>"']/.test(plain)) return plain;
  countRead(8 * plain.length);
  return inPieces(plain, (piece) => piece.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? ''));
}
