/**
 * Placeholders of entities, which augmentation must not change: `[PHONE_1]` as written by redaction, `{{name}}`,
 * `${name}`, `{name}`, `<NAME>`, `%s`, `【订单号】`.
 */
export const ENTITY_SLOT =
  /\[[A-Z][A-Z_]*\d*\]|\{\{[^{}\n]+\}\}|\$?\{[\p{L}\p{N}_.-]+\}|<[A-Z][A-Z_\d]*>|%(?:\(\w+\))?[sd]\b|【[^【】\n]{1,30}】/u;

/** Returns the placeholders of a text, in order. */
export const slotsOf = (text: string): string[] => text.match(new RegExp(ENTITY_SLOT, 'gu')) ?? [];
