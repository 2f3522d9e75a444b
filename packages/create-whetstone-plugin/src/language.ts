/** The languages of a plugin: TypeScript or JavaScript. */
export const LANGUAGES = ['ts', 'js'] as const;

/** The language of a plugin. */
export type Language = (typeof LANGUAGES)[number];

/** Returns a text in a language: what is between `«` and `»` is only in TypeScript. */
export const inLanguage = (text: string, language: Language): string =>
  text.replaceAll(/«([^»]*)»/g, language === 'ts' ? '$1' : '');
