/**
 * Frequent words of languages in Latin script: pronouns, articles, prepositions, conjunctions, question words, forms of
 * "to be" and "to have", and greetings. A word may belong to several languages. The English list also has frequent
 * English words that look like words of other languages ("die", "son", "men").
 */
export const functionWords: Readonly<Record<string, string>> = {
  English:
    'the a an and or but of to in on at for with by from as is are was were be been am do does did doing done ' +
    'have has had having it its this that these those i you he she we they me him her us them my your his our ' +
    "their mine yours who what which why how when where not no yes can can't could will would should may might " +
    'must if then than so there here about into just very more most some any all also only over such too out ' +
    "up down off i'm i've i'd i'll you're you've you'll he's she's it's we're we've they're that's what's " +
    "who's where's how's there's here's let's don't doesn't didn't isn't aren't wasn't weren't won't wouldn't " +
    "couldn't shouldn't haven't hasn't ain't cannot because while after before again now never always ever " +
    'still yet hello hi hey please thanks thank sorry okay ok well get got go going gone make made take know ' +
    'think want need like say said see look tell give come find use let one two three first last other another ' +
    'new good bad great long little old big small own right same many much few both each every people man men ' +
    'woman women time day year way thing things life world something anything nothing everything someone die ' +
    'war hat bin den son sin per pour sur pas plus mal gut rat ten once real era solo via non due dove fin ' +
    'sole van pan ham ton sale bon vale net hand arm land bank name best film bus hotel wild warm kind gift ' +
    "rock wolf wind ring gold winter water what're isnt dont im ive cant ur pls u r wrote played play plays " +
    'won eat ate sex love feel means mean called really human computer robot',
  German:
    'der die das den dem des ein eine einen einem einer eines und oder aber nicht kein keine keinen ist sind ' +
    'war waren bin bist seid sein hat habe haben hast hatte wird werden wurde kann kannst können könnte muss ' +
    'müssen soll sollte ich du er sie es wir ihr mich mir dich dir ihn ihm ihnen uns euch mein meine meinen ' +
    'meiner dein deine unser unsere ihre seine dieser diese dieses was wer wie wo wann warum welche welcher ' +
    'woher wohin in im an am auf aus bei mit nach von vom vor zu zum zur für über unter durch gegen ohne um ' +
    'bis seit auch noch schon nur sehr hier dort da dann wenn weil dass ob als so wieder immer nie mehr viel ' +
    'alle etwas nichts gibt geht möchte bitte danke hallo guten tag ja nein heute morgen gestern jetzt gern ' +
    'gut gerne kommt macht',
  French:
    "l' qu' n' j' m' s' c' t' le la les un une des du de d' au aux et ou mais ne pas plus est sont suis es " +
    'sommes êtes était être ai as a avons avez ont avait avoir fait faire peut peux pouvez veux voudrais dois ' +
    'faut va vais je tu il elle on nous vous ils elles me te se lui leur moi toi mon ma mes ton ta tes son sa ' +
    'ses notre votre nos vos ce cet cette ces cela ça que qui quoi quel quelle quels quelles où quand comment ' +
    'pourquoi combien dans en sur sous avec sans pour par chez vers depuis entre très trop bien aussi encore ' +
    'toujours jamais déjà ici là alors donc si comme parce rien tout tous toute merci bonjour salut oui non ' +
    "s'il plaît aujourd'hui demain c'est j'ai n'est d'une d'un qu'il qu'est j'aime jusqu'à l'heure est-ce y",
  Spanish:
    'el la los las un una unos unas de del al y o pero no ni es son soy eres somos está están estoy estás ' +
    'estaba era fue ser ha he has hay han había tiene tengo tienes puede puedo puedes quiero quieres hace ' +
    'hacer voy va vamos debe yo tú usted él ella nosotros ellos ellas me te se le les lo nos mi mis tu tus su ' +
    'sus nuestro nuestra este esta esto estos ese esa eso que qué quien quién cuál cuándo cuando cómo como ' +
    'dónde donde cuánto cuántos porque en con sin por para sobre entre desde hasta hacia muy más menos también ' +
    'ya aún todavía siempre nunca aquí allí si sí bien todo todos nada algo gracias hola buenos días buenas ' +
    'favor hoy mañana ayer ahora gusta',
  Portuguese:
    'o a os as um uma de do da dos das no na nos nas ao e ou mas não nem é são sou somos está estão estou foi ' +
    'era ser tem tenho têm há pode posso quero fazer faz vai vou deve eu tu você vocês ele ela nós eles elas ' +
    'me te se lhe meu minha meus minhas seu sua seus suas nosso este esta isto esse essa isso aquele que quem ' +
    'qual quando como onde quanto porque por para com sem em sobre entre desde até muito mais menos também já ' +
    'ainda sempre nunca aqui ali sim bem tudo todos nada algo obrigado obrigada olá oi bom dia boa hoje amanhã ' +
    'ontem agora pelo pela num numa à gosto',
  Italian:
    "l' d' all' nell' un' c' il lo la i gli le un uno una di del della dei delle dello degli al alla ai alle " +
    'dal dalla nel nella nei sul sulla e o ma non né è sono sei siamo siete era stato essere ho hai ha abbiamo ' +
    'avete hanno aveva può posso puoi vuoi voglio vorrei fa fare va vado deve io tu lui lei noi voi loro mi ti ' +
    'si ci vi me te se mio mia miei mie tuo tua suo sua nostro vostro questo questa questi quello quella che ' +
    'chi cosa quale quando come dove quanto perché in con su per tra fra da molto più meno anche già ancora ' +
    "sempre mai qui lì bene tutto tutti niente grazie ciao buongiorno sì oggi domani ieri ora adesso dell' c'è " +
    "l'ho dov'è cos'è qual po' piace",
  Dutch:
    'de het een en of maar niet geen is zijn was waren ben bent wordt worden werd heb hebt heeft hebben had ' +
    'kan kunt kunnen moet moeten wil wilt zal zou mag gaat gaan doen ik jij je u hij zij ze wij we jullie mij ' +
    'me hem haar ons hen mijn jouw uw onze hun dit dat deze die wat wie hoe waar wanneer waarom welke in op ' +
    'aan met van voor naar uit bij door over onder tegen zonder om tot sinds als omdat dan toen ook nog al ' +
    'alleen zeer heel hier daar er zo weer altijd nooit meer veel alle iets niets graag alstublieft dank ' +
    'bedankt hallo goedemorgen ja nee vandaag morgen gisteren nu goed te',
  Polish:
    'i w we na z ze do od po za o u przy dla bez przez nad pod nie jest są jestem jesteś był była było być mam ' +
    'masz ma mamy mają może mogę możesz chcę chcesz trzeba ja ty on ona ono my wy oni mnie mi cię ci go mu jej ' +
    'nas was ich mój moja moje twój twoja swój jego nasz ten ta to te tego tej tym który która które co kto ' +
    'jak gdzie kiedy dlaczego czy ile ale lub albo oraz bo że żeby jeśli gdy tylko już jeszcze bardzo też ' +
    'także tu tam tak zawsze nigdy więcej dużo wszystko nic coś proszę dziękuję cześć dzień dobry dzisiaj ' +
    'jutro wczoraj teraz dobrze się',
  Swedish:
    'och att det som en ett den de på är var av för med till från om men eller inte ingen har hade kan kunde ' +
    'ska skulle vill måste blir bli gör göra gå får jag du han hon vi ni mig dig sig honom henne oss er dem ' +
    'min mitt mina din ditt dina sin hans hennes vår vårt deras detta denna dessa vad vem hur när varför ' +
    'vilken vilket i hos under över utan genom efter innan sedan också bara mycket mer här där då nu så igen ' +
    'alltid aldrig alla något inget allt tack hej snälla ja nej idag imorgon igår bra',
  'Danish or Norwegian':
    'og at det som en et den de på er var av af for med til fra om men eller ikke ingen har havde hadde kan ' +
    'kunne skal skulle vil ville må bliver blir gør gjør gå får jeg du han hun vi mig meg dig deg sig seg ham ' +
    'hende henne os oss jer dem min mitt mit mine din ditt sin hans hendes vår vores deres dette denne disse ' +
    'hva hvad hvem hvor hvordan når hvorfor hvilken i hos under over uden uten gennem gjennom efter etter før ' +
    'siden også bare kun meget mye mer mere her der da nu nå så igen igjen altid alltid aldrig aldri alle ' +
    'noget noe intet ingenting takk tak hej hei ja nej nei dag',
  Turkish:
    'bir bu şu o ve veya ile için ama fakat de da ki mi mı mu mü değil var yok ne kim nasıl nerede nereye ' +
    'neden niçin hangi kaç zaman ben sen biz siz onlar beni bana benim seni sana senin onu ona onun bizim ' +
    'sizin gibi kadar daha çok en az her hiç şey sonra önce şimdi bugün yarın dün burada orada evet hayır ' +
    'lütfen teşekkür ederim merhaba günaydın olan olarak oldu olur istiyorum ediyorum yapmak iyi güzel misin ' +
    'mısın musun nedir',
  Romanian:
    'și si în la de pe cu din pentru prin despre între fără un o unei unui al ai ale este e sunt sunteți ești ' +
    'era fost fi am are avem aveți au avea pot poate poți vreau vrei trebuie face eu tu el ea noi voi ei ele ' +
    'mă te se îmi îți îi ne vă mi meu mea mei mele tău ta său sa nostru acest această acesta asta acel ce cine ' +
    'care cum unde când cât câți dar sau ori nu ca că să dacă mai foarte doar numai aici acolo acum azi mâine ' +
    'ieri bine tot toate nimic ceva mulțumesc bună ziua salut rog da',
  Czech:
    'a i v ve na z ze do od po za o u při pro bez přes nad pod s se si že není je jsou jsem jsi jsme jste byl ' +
    'byla bylo být mám máš má máme mají může mohu můžu můžete chci chcete musí já ty on ona ono my vy oni mě ' +
    'mi mne tě ti ho mu jí nás vás jich můj moje moji tvůj tvoje svůj jeho její náš ten ta to tento tato toto ' +
    'který která které co kdo jak kde kdy proč kolik ale nebo ani protože aby když pokud jen už ještě velmi ' +
    'také tady tam tak vždy nikdy více hodně všechno nic něco prosím děkuji ahoj dobrý den ano ne dnes zítra ' +
    'včera teď dobře nejde',
  Slovak:
    'a aj v vo na z zo do od po za o u pri pre bez cez nad pod s so sa si že nie je sú som sme ste bol bola ' +
    'bolo byť mám máš má máme majú môže môžem chcem musí ja ty on ona my vy oni ma mi ťa ti ho mu jej nás vás ' +
    'ich môj moja moje tvoj svoj jeho náš ten tá to tie tento ktorý ktorá čo kto ako kde kedy prečo koľko ale ' +
    'alebo ani pretože aby keď ak len už ešte veľmi tiež tu tam tak vždy nikdy viac veľa všetko nič niečo ' +
    'prosím ďakujem ahoj dobrý deň áno dnes zajtra včera teraz dobre',
  Croatian:
    'i u na s sa iz od do za o po pri bez kroz nad pod je su sam si smo ste bio bila bilo biti nije nisu nisam ' +
    'imam imaš ima imamo imaju može mogu želim treba ja ti on ona mi vi oni me te ga mu joj nas vas ih moj ' +
    'moja moje tvoj svoj njegov njezin naš ovaj ova ovo taj ta to koji koja koje što šta tko kako gdje kada ' +
    'zašto koliko ali ili jer da ako kad samo već još vrlo također tu tamo tako uvijek nikad više puno sve ' +
    'ništa nešto molim hvala bok dobar dan ne danas sutra jučer sada dobro se će',
  Hungarian:
    'a az egy és vagy de hogy nem ne nincs van vannak volt voltak lesz vagyok vagyunk kell lehet tud tudom ' +
    'tudok szeretnék szeretném akarok akarsz megy én te ő mi ti ők engem téged nekem neked neki minket ez ezt ' +
    'azt ezek azok ki kit mit milyen hol hova honnan mikor miért hogyan hány melyik mennyi ha mert mint is ' +
    'csak már még nagyon itt ott most akkor mindig soha több sok minden semmi valami kérem kérek köszönöm szia ' +
    'jó napot igen ma holnap tegnap jól meg el fel be le után előtt alatt között nélkül',
  Finnish:
    'ja tai mutta että on ei en et emme ette eivät oli ole olen olet olemme olette ovat olla ollut voi voin ' +
    'voit voitko haluan haluat pitää täytyy minä sinä hän me te he minun sinun hänen meidän teidän heidän ' +
    'minulla sinulla minua sinua tämä tuo se nämä ne mikä mitä kuka missä mihin mistä milloin miksi miten ' +
    'kuinka jos koska kun kuin myös vain jo vielä hyvin hyvä tässä siellä nyt sitten aina koskaan enemmän ' +
    'paljon kaikki mitään jotain kiitos hei moi kyllä tänään huomenna eilen kanssa ilman ennen jälkeen',
  Vietnamese:
    'là và của có không được cho với trong trên dưới này kia đó những các một hai ba người tôi bạn anh chị em ' +
    'ông bà chúng ta họ nó mình gì nào đâu sao ai khi bao nhiêu vì như thế nếu thì mà nhưng hoặc hay cũng đã ' +
    'đang sẽ rất lắm quá đi đến từ ở về ra vào lên rồi chưa vẫn chỉ mọi tất cả cảm ơn xin chào vâng dạ hôm nay ' +
    'ngày mai làm muốn biết thể cần phải tại việc',
  'Indonesian or Malay':
    'yang dan di ke dari untuk dengan pada dalam oleh tentang adalah ini itu tidak bukan belum sudah telah ' +
    'akan sedang bisa dapat boleh harus mau ingin ada tak saya aku kamu anda dia ia kami kita mereka nya apa ' +
    'siapa mana kapan bagaimana mengapa kenapa berapa bila jika kalau karena atau tetapi tapi juga hanya lagi ' +
    'masih sangat lebih paling semua setiap banyak beberapa sini sana sekarang nanti kemarin hari besok ' +
    'selamat pagi terima kasih tolong ya seperti sebuah apakah dimana makan nama',
  Catalan:
    'el la els les un una uns unes de del dels al als i o però no ni és són sóc ets som està estan era ser té ' +
    'tinc tens pot puc vull fer fa vaig va ha he hem han jo tu vostè ell ella nosaltres ells em et es li ens ' +
    'us meu meva teu teva seu seva nostre aquest aquesta això aquell que què qui quin quina quan com on quant ' +
    'perquè en amb sense per sobre entre des fins molt més menys també ja encara sempre mai aquí allà si sí bé ' +
    'tot tots res gràcies hola bon dia bona avui demà ahir ara',
};
