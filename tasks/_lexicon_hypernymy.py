"""Words of the `hypernymy` task: categories, what their members are called, and members of each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Category:
    """Categories that share a domain overlap (birds are animals, salmon is a food) and never corrupt one another."""

    name: str
    domains: frozenset[str]
    words: tuple[str, ...]
    members: tuple[str, ...]


def _category(name: str, domains: str, words: str, members: str) -> Category:
    answers = tuple(f" {word}" for word in words.split())
    return Category(name, frozenset(domains.split()), answers, tuple(members.split()))


# Three words and twelve members each: answer sets are of one size, and every category weighs the same.
CATEGORIES = (
    _category(
        "birds", "animals", "birds animals creatures",
        "sparrows eagles pigeons ducks crows owls robins swans geese gulls falcons hawks",
    ),
    _category(
        "mammals", "animals", "animals mammals beasts",
        "lions tigers bears wolves foxes elephants rabbits deer horses cows monkeys camels",
    ),
    _category(
        "insects", "animals", "insects bugs pests",
        "ants bees flies beetles mosquitoes butterflies moths wasps crickets grasshoppers termites cockroaches",
    ),
    _category(
        "fish", "animals food", "fish seafood species",
        "salmon trout sharks cod carp tuna herring sardines mackerel eels piranhas minnows",
    ),
    _category(
        "fruits", "food plants", "fruits fruit foods",
        "apples oranges bananas grapes pears peaches cherries lemons plums strawberries mangoes melons",
    ),
    _category(
        "vegetables", "food plants", "vegetables veggies foods",
        "carrots onions potatoes cucumbers beans peas peppers mushrooms beets radishes cabbages turnips",
    ),
    _category(
        "desserts", "food", "desserts sweets treats",
        "cakes cookies pies brownies puddings pastries muffins tarts donuts candies cupcakes chocolates",
    ),
    _category(
        "drinks", "food water", "drinks beverages liquids",
        "beers wines juices teas coffees sodas cocktails ciders smoothies ales lagers milkshakes",
    ),
    _category(
        "flowers", "plants", "flowers plants garden",
        "roses tulips lilies daisies violets orchids daffodils sunflowers carnations irises poppies marigolds",
    ),
    _category(
        "trees", "plants", "trees plants timber",
        "oaks pines maples birches elms willows cedars palms firs spruces beeches poplars",
    ),
    _category(
        "tools", "implements", "tools equipment hardware",
        "hammers saws drills wrenches screwdrivers axes shovels pliers chisels rakes ladders clamps",
    ),
    _category(
        "kitchenware", "implements", "dishes kitchen implements",
        "spoons forks plates bowls pans pots knives ladles spatulas whisks saucers cups",
    ),
    _category(
        "containers", "implements", "containers packaging storage",
        "boxes jars bottles bags baskets crates barrels cans tins buckets sacks cartons",
    ),
    _category(
        "weapons", "implements", "weapons arms weaponry",
        "guns rifles swords pistols bombs grenades missiles spears daggers cannons muskets revolvers",
    ),
    _category(
        "vehicles", "vehicles", "vehicles transport traffic",
        "cars trucks buses motorcycles vans taxis bicycles trams scooters tractors ambulances jeeps",
    ),
    _category(
        "boats", "vehicles water", "boats ships vessels",
        "canoes ferries yachts kayaks sailboats rafts submarines barges tankers trawlers rowboats gondolas",
    ),
    _category(
        "waters", "water", "waters water bodies",
        "rivers lakes oceans ponds streams seas creeks lagoons bays canals reservoirs swamps",
    ),
    _category(
        "clothes", "wear", "clothes clothing garments",
        "shirts trousers jackets coats dresses sweaters skirts socks gloves scarves jeans pants",
    ),
    _category(
        "shoes", "wear", "shoes footwear apparel",
        "boots sandals sneakers slippers heels loafers clogs moccasins trainers pumps flats galoshes",
    ),
    _category(
        "jewelry", "wear", "jewelry accessories jewels",
        "rings necklaces bracelets earrings brooches pendants lockets tiaras anklets cufflinks chokers bangles",
    ),
    _category(
        "gems", "wear", "gems stones jewels",
        "diamonds rubies emeralds sapphires pearls opals topazes garnets amethysts crystals agates zircons",
    ),
    _category(
        "furniture", "home", "furniture household pieces",
        "chairs tables sofas beds desks cabinets shelves dressers couches stools benches wardrobes",
    ),
    _category(
        "electronics", "home", "devices electronics gadgets",
        "phones laptops tablets computers televisions cameras printers radios speakers monitors keyboards headphones",
    ),
    _category(
        "toys", "home", "toys games gifts",
        "dolls puzzles kites marbles balloons puppets blocks rattles jigsaws dominoes frisbees playhouses",
    ),
    _category(
        "instruments", "music", "instruments musical percussion",
        "guitars pianos violins drums flutes trumpets cellos harps clarinets saxophones trombones banjos",
    ),
    _category(
        "organs", "body", "organs tissues body",
        "kidneys lungs livers hearts brains stomachs muscles bladders bones eyes intestines glands",
    ),
    _category(
        "illnesses", "body", "diseases illnesses conditions",
        "allergies migraines ulcers infections strokes fevers cancers tumors colds headaches rashes seizures",
    ),
    _category(
        "buildings", "places", "buildings structures places",
        "houses churches schools hospitals hotels temples castles libraries museums theaters barns offices",
    ),
    _category(
        "crimes", "crimes", "crimes offenses violence",
        "murders robberies thefts assaults burglaries kidnappings hijackings frauds riots homicides forgeries bribes",
    ),
    _category(
        "currencies", "money", "currencies money coins",
        "dollars euros pounds yen pesos francs rubles rupees cents dimes pennies nickels",
    ),
    _category(
        "shapes", "shapes", "shapes figures forms",
        "triangles circles squares rectangles cubes spheres ovals pyramids cones hexagons cylinders pentagons",
    ),
    _category(
        "texts", "texts", "texts writings literature",
        "poems novels essays stories letters articles plays books diaries memoirs reports biographies",
    ),
    _category(
        "relatives", "people", "relatives family kin",
        "cousins uncles aunts grandparents sisters brothers nieces nephews parents grandmothers sons daughters",
    ),
    _category(
        "scientists", "people", "scientists researchers experts",
        "chemists physicists biologists geologists astronomers botanists mathematicians economists psychologists "
        "historians engineers zoologists",
    ),
    _category(
        "athletes", "people", "athletes players competitors",
        "boxers swimmers runners wrestlers gymnasts cyclists skaters golfers sprinters skiers rowers goalkeepers",
    ),
    _category(
        "artists", "people", "artists performers creators",
        "painters sculptors musicians poets dancers singers actors photographers composers writers potters filmmakers",
    ),
)  # fmt: skip
