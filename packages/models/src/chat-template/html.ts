const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};

/** Escapes text for HTML. */
export const escapeHtml = (plain: string): string => plain.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
