/**
 * The library takes `{% generation %}` tags out of a template before it parses it. Here each becomes an assignment to a
 * name that no template uses, which parses like any statement and keeps the tag's white-space marks; the evaluator
 * knows the names.
 */
export const generationStart = 'whetstone_generation_start';
export const generationEnd = 'whetstone_generation_end';

const TAG = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g;

/**
 * `{%+` keeps the white space before a tag and `+%}` the line's end after it, which the library does not know: they are
 * written out instead.
 */
const keepMarkedSpace = (template: string): string =>
  template
    .replace(/^([ \t]*)\{%\+/gm, (_tag, space: string) => `${space === '' ? '' : `{{ ${JSON.stringify(space)} }}`}{%`)
    .replace(/\+%\}(\n?)/g, (_tag, end: string) => `%}${end === '' ? '' : '{{ "\\n" }}'}`);

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
