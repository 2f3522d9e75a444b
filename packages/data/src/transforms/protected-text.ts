/** Text that no cleaner may touch: code between fences and backticks, and addresses of the web. */
const protectedParts = /```[\s\S]*?(?:```|$)|`[^`\n]+`|https?:\/\/[^\s<>"'，。！？、；：（）「」『』]+/g;

/** Changes what stands around code and web addresses, and leaves those as they are. */
export function changeProse(text: string, change: (prose: string) => string): string {
  let result = '';
  let position = 0;
  for (const match of text.matchAll(protectedParts)) {
    result += change(text.slice(position, match.index)) + match[0];
    position = match.index + match[0].length;
  }
  return result + change(text.slice(position));
}
