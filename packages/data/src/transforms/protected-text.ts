/** Text that transforms must not change: code in fences and backticks, and web addresses. */
const protectedText = /```[\s\S]*?(?:```|$)|`[^`\n]+`|https?:\/\/[^\s<>"'，。！？、；：（）「」『』]+/g;

/** Applies `change` to a text, except for code and web addresses. */
export function changeProse(text: string, change: (prose: string) => string): string {
  let result = '';
  let position = 0;
  for (const match of text.matchAll(protectedText)) {
    result += change(text.slice(position, match.index)) + match[0];
    position = match.index + match[0].length;
  }
  return result + change(text.slice(position));
}
