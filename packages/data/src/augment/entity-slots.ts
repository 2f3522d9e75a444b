/**
 * Places where an entity stands or will be put, which no rewording may touch: `[PHONE_1]` as redaction writes them,
 * `{{name}}`, `${name}`, `{name}`, `<NAME>`, `%s`, `【订单号】`.
 */
export const ENTITY_SLOT =
  /\[[A-Z][A-Z_]*\d*\]|\{\{[^{}\n]+\}\}|\$?\{[\p{L}\p{N}_.-]+\}|<[A-Z][A-Z_\d]*>|%(?:\(\w+\))?[sd]\b|【[^【】\n]{1,30}】/u;

/** The slots of a text, in their order. */
export const slotsOf = (text: string): string[] => text.match(new RegExp(ENTITY_SLOT, 'gu')) ?? [];
