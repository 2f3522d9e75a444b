/**
 * Replaces `{% generation %}` tags, which the library would remove before parsing, by assignments to reserved names. An
 * assignment preserves the white-space control of the tag. The evaluator recognises the names.
 */
export const generationStart = 'whetstone_generation_start';
export const generationEnd = 'whetstone_generation_end';

const TAG = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g;

/**
 * Replaces `{%+`, which preserves the white space before a tag, and `+%}`, which preserves the line break after it, by
 * explicit output. The library does not support them.
 */
const keepMarkedSpace = (template: string): string =>
  template
    .replace(/^([ \t]*)\{%\+/gm, (_tag, space: string) => `${space === '' ? '' : `{{ ${JSON.stringify(space)} }}`}{%`)
    .replace(/\+%\}(\n?)/g, (_tag, end: string) => `%}${end === '' ? '' : '{{ "\\n" }}'}`);

/** Replaces generation tags by markers; `tagged` is true if there are any. */
export function markGenerationTags(template: string): { readonly source: string; readonly tagged: boolean } {
  let tagged = false;
  const source = keepMarkedSpace(template).replace(
    TAG,
    (_tag, before: string, end: string | undefined, after: string) => {
      tagged = true;
      return `{%${before} set ${end === undefined ? generationStart : generationEnd} = 0 ${after}%}`;
    },
  );
  return { source, tagged };
}
