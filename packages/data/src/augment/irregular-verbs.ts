/** Irregular English verbs: base, past, participle; the participle is left out if it equals the past. */
const VERBS =
  'arise arose arisen, awake awoke awoken, be was been, bear bore borne, beat beat beaten, become became ' +
  'become, begin began begun, bend bent, bet bet, bid bid, bind bound, bite bit bitten, bleed bled, blow ' +
  'blew blown, break broke broken, breed bred, bring brought, broadcast broadcast, build built, burn burnt, ' +
  'burst burst, buy bought, cast cast, catch caught, choose chose chosen, cling clung, come came come, cost ' +
  'cost, creep crept, cut cut, deal dealt, dig dug, do did done, draw drew drawn, dream dreamt, drink drank ' +
  'drunk, drive drove driven, eat ate eaten, fall fell fallen, feed fed, feel felt, fight fought, find ' +
  'found, flee fled, fling flung, fly flew flown, forbid forbade forbidden, forecast forecast, foresee ' +
  'foresaw foreseen, forget forgot forgotten, forgive forgave forgiven, freeze froze frozen, get got gotten, ' +
  'give gave given, go went gone, grind ground, grow grew grown, hang hung, have had, hear heard, hide hid ' +
  'hidden, hit hit, hold held, hurt hurt, keep kept, kneel knelt, know knew known, lay laid, lead led, lean ' +
  'leant, leap leapt, learn learnt, leave left, lend lent, let let, lie lay lain, light lit, lose lost, make ' +
  'made, mean meant, meet met, mislead misled, mistake mistook mistaken, overcome overcame overcome, pay ' +
  'paid, prove proved proven, put put, quit quit, read read, ride rode ridden, ring rang rung, rise rose ' +
  'risen, run ran run, say said, see saw seen, seek sought, sell sold, send sent, set set, sew sewed sewn, ' +
  'shake shook shaken, shed shed, shine shone, shoot shot, show showed shown, shrink shrank shrunk, shut ' +
  'shut, sing sang sung, sink sank sunk, sit sat, sleep slept, slide slid, sow sowed sown, speak spoke ' +
  'spoken, speed sped, spell spelt, spend spent, spill spilt, spin spun, split split, spoil spoilt, spread ' +
  'spread, spring sprang sprung, stand stood, steal stole stolen, stick stuck, sting stung, strike struck ' +
  'stricken, string strung, strive strove striven, swear swore sworn, sweep swept, swell swelled swollen, ' +
  'swim swam swum, swing swung, take took taken, teach taught, tear tore torn, tell told, think thought, ' +
  'throw threw thrown, thrust thrust, tread trod trodden, understand understood, undertake undertook ' +
  'undertaken, undo undid undone, uphold upheld, upset upset, wake woke woken, wear wore worn, weave wove ' +
  'woven, weep wept, win won, wind wound, withdraw withdrew withdrawn, withhold withheld, withstand ' +
  'withstood, write wrote written';

const forms = VERBS.split(', ').map((verb) => verb.split(' '));

/** The bases of irregular verbs. */
export const irregularBases: ReadonlySet<string> = new Set(forms.flatMap(([base = '']) => base));

/** Pasts and participles of irregular verbs, of which many are also other words: `left`, `found`, `saw`. */
export const irregularForms: ReadonlySet<string> = new Set(forms.flatMap(([, ...others]) => others));
