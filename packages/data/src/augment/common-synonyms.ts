/**
 * Common English words with words that can stand in their place in nearly every sentence, of the same style. Inflected
 * words are entries of their own, so that a word is listed only in the part of speech and with the meanings that its
 * synonyms share: "movie" but not "picture", "happens" has no entry because of "happens to be".
 */
const ENTRIES = `
  airplane plane; airplanes planes; aeroplane plane; aeroplanes planes; app application; apps applications;
  attorney lawyer; attorneys lawyers; lawyer attorney; lawyers attorneys; author writer; authors writers;
  writer author; writers authors; automobile car; automobiles cars; bicycle bike; bicycles bikes; buddy friend;
  buddies friends; pal friend; pals friends; couch sofa; couches sofas; sofa couch; sofas couches; country nation;
  countries nations; nation country; nations countries; difficulties problems; exam test; exams tests; film movie;
  films movies; movie film; movies films; fridge refrigerator; refrigerator fridge; gift present; gifts presents;
  grandma grandmother; grandpa grandfather; infant baby; infants babies; info information; kids children;
  laboratory lab; lab laboratory; mom mother; mum mother; objectives goals; photo picture; photos pictures;
  physician doctor; physicians doctors; quantity amount; quantities amounts; supper dinner; telephone phone;
  telephones phones;

  additional extra; extra additional; amazing incredible; incredible amazing; awful terrible; terrible awful;
  horrible terrible; dreadful terrible; big large; bigger larger; biggest largest; large big; larger bigger;
  largest biggest; boring dull; tedious boring; clever smart, intelligent; intelligent smart, clever; closest nearest;
  nearest closest; crucial essential; essential crucial; difficult hard; enormous huge; huge enormous; gigantic huge;
  entire whole; envious jealous; jealous envious; famous well-known; faster quicker; quicker faster; fastest quickest;
  quickest fastest; foolish silly; silly foolish; fortunate lucky; funny amusing; glad happy; gorgeous beautiful;
  incorrect wrong; numerous many; rapid fast; sad unhappy; unhappy sad; strange odd; weird strange; sufficient enough;
  unusual uncommon; unwell sick; various different; wealthy rich; worried concerned;
  located situated; scared frightened; frightened scared;

  certainly definitely; definitely certainly; chiefly mainly; completely totally; totally completely;
  entirely completely; utterly completely; constantly continuously; correctly properly; properly correctly;
  especially particularly; particularly especially; exactly precisely; precisely exactly; extremely incredibly;
  incredibly extremely; frequently often; generally usually; normally usually; typically usually; usually normally;
  immediately instantly; instantly immediately; approximately roughly; mainly primarily; primarily mainly;
  obviously clearly; occasionally sometimes; presently currently; quickly rapidly; rapidly quickly; swiftly quickly;

  adore love; adores loves; allow permit; allows permits; allowed permitted; allowing permitting; assist help;
  assists helps; assisted helped; assisting helping; attempted tried; attempting trying; begin start; begins starts;
  began started; begun started; bought purchased; buy purchase; buys purchases; buying purchasing; purchased bought;
  commence start; commences starts; commenced started; comprehend understand; comprehends understands;
  constructed built; demonstrate show; demonstrates shows; demonstrating showing; depart leave; departed left; 
  detest hate; detests hates; erase delete; erases deletes; erased deleted; erasing deleting; inquire ask;
  inquired asked; locate find; locating finding; modify change; modifies changes; modified changed;
  modifying changing; obtain get; obtains gets; obtaining getting; occur happen; occurs happens; occurred happened;
  occurring happening; require need; requires needs; reside live; resides lives; resided lived; utilize use;
  utilizes uses; utilized used; utilizing using; utilise use; utilises uses; utilised used; utilising using;
  vanish disappear; vanishes disappears; vanished disappeared; vanishing disappearing
`;

/** Expressions with these words that WordNet lacks. */
const EXPRESSIONS = new Set([
  'and large',
  'big data',
  'big deal',
  'big o',
  'large language',
  'film noir',
  'famous last',
  'awful lot',
]);

/** The common words with their synonyms. */
export const commonSynonyms: ReadonlyMap<string, readonly string[]> = new Map(
  ENTRIES.split(';').map((entry) => {
    const [word = '', ...others] = entry.trim().split(/,? +/);
    return [word, others];
  }),
);

/** Returns whether two words are an expression with a meaning of its own. */
export const isCommonExpression = (words: readonly string[]): boolean => EXPRESSIONS.has(words.join(' '));
