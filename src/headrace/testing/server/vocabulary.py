"""German words that are typical for one of eight shop categories.

With them the demo's answers look sensible. Each is a part of a word that is searched in case-folded text
without signs: `schlauch` is found in `Gartenschlauch`. `_` means the space between words.
"""

from collections.abc import Mapping
from types import MappingProxyType

_WORDS = {
    "elektronik": """
        kopfhörer ohrhörer lautsprecher bluetooth usb wlan wi_fi akkulauf ladegerät ladekabel
        netzteil hdmi smartphone handy tablet notebook laptop computer monitor bildschirm display
        tastatur _maus funkmaus webcam kamera drucker router smartwatch e_reader speicher ssd
        festplatte microsd beamer fernseher radio mikrofon drohne powerbank steckdose plattenspieler
        taschenrechner solarzelle _watt_ _gb_ _app_ zoll stecker full_hd infrarot windows
    """,
    "haushalt": """
        pfanne kochtopf staubsauger wasserkocher spül geschirr besteck messerblock küche wäsche
        bügel kaffeemaschine tasse becher bettwäsche kissen decke_ handtuch handtücher vorratsdose
        mikrowelle toaster mixer wisch mopp eimer müll brotkasten schneidebrett kerze vorhang
        teppich wanduhr _uhrwerk luftreiniger staub waschmittel auflaufform keramik edelstahl
        parkett fliesen herde esstisch wohnzimmer schrank reinig abwasch steingut
    """,
    "kleidung": """
        pullover jeans hemd jacke socken kleid_ kleider_ stiefel boots hose schal_ shirt gürtel
        weste schlafanzug bluse mütze parka sneaker sandalen rock_ handschuh mantel body hoodie
        kapuze sakko leggings krawatte strumpf ärmel kragen baumwoll wolle merino leder schnalle
        bund_ knielang taschen_ größen strick gefüttert tailliert jersey viskose nähte damen herren
    """,
    "bücher": """
        roman_ romans krimi thriller buch_ _buch bücher seiten autor kapitel gedicht lyrik erzähl
        geschichte bildband ratgeber lehrbuch lexikon comic biografie hörbuch lesung hardcover
        taschenbuch gebunden auflage essay illustr lese_ lesebänd vorles sachbuch trilogie _band_
        atlas wanderführer sprachkurs einband checkliste bestimm leser einführung
    """,
    "spielzeug": """
        spiel_ spielzeug spielset spielladen spieler puzzle puppe plüsch kuscheltier bausteine
        bausatz holzeisenbahn brettspiel kartenspiel würfel kreisel laufrad knete teddy kinder
        ab_drei ab_zwei ab_acht ab_sieben ab_fünf jahren murmel kugelbahn experiment fernsteuer
        ferngesteuert figuren rassel greifling drachen bagger badeente quietsch fingerfarbe
        steckenpferd bauernhof schach zauber gedächtnis
    """,
    "sport": """
        sport training trainiert fitness yoga laufschuh hantel fußball _ball_ springseil fahrrad
        rennrad helm schwimm wanderst trekking tischtennis tennis schläger klimmzug ausdauer muskel
        faszien kletter joggen läufe basketball badminton ski piste box sparring isomatte trikot
        gymnastik balance gleichgewicht schlittschuh eislauf dart turnier torwart berg_ bergtour
        rucksack pumpe turnen widerstand verein
    """,
    "garten": """
        garten schlauch beet rasen rosen gießkanne gieß saatgut samen aussaat vogelhaus nistkasten
        erde_ kompost blumen pflanz stauden schubkarre regentonne regenwasser spaten hecke unkraut
        balkon terrasse insekten bienen sonnenschirm feuerschale baum_ bewässer laub dünger
        gewächshaus winterhart zwiebeln blüh mäher wurzel solarleucht tomaten gartenbank
    """,
    "lebensmittel": """
        käse honig kaffeebohnen geröstet olivenöl rapsöl öl_ nudeln pasta schokolade kakao tee_
        konfitüre wurst saft hafer müsli brot_ roggen gewürz würzig nüsse mandeln senf wein riesling
        suppe eintopf lachs reis_ lebkuchen gebacken gurken sirup pesto basilikum bier_ frucht
        zucker vegan vanille pudding schmeck geräuchert gesalzen essig milch kruste _scharf kohl
        knackig aroma hefe gelatine
    """,
}

CUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        category: tuple(cue.casefold().replace("_", " ") for cue in words.split())
        for category, words in _WORDS.items()
    }
)
"""The case-folded parts of words that are typical for each category."""
