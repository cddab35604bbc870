"""Every UN member and observer state with its capital; `datasets/capital_country.md` says which names were chosen."""

_TABLE = """
Algiers: Algeria; Luanda: Angola; Porto-Novo: Benin; Gaborone: Botswana; Ouagadougou: Burkina Faso; Gitega: Burundi
Praia: Cape Verde; Yaoundé: Cameroon; Bangui: the Central African Republic; N'Djamena: Chad; Moroni: the Comoros
Kinshasa: the Democratic Republic of the Congo; Brazzaville: Congo; Djibouti: Djibouti; Cairo: Egypt
Malabo: Equatorial Guinea; Asmara: Eritrea; Mbabane: Eswatini; Addis Ababa: Ethiopia; Libreville: Gabon
Banjul: the Gambia; Accra: Ghana; Conakry: Guinea; Bissau: Guinea-Bissau; Yamoussoukro: Ivory Coast; Nairobi: Kenya
Maseru: Lesotho; Monrovia: Liberia; Tripoli: Libya; Antananarivo: Madagascar; Lilongwe: Malawi; Bamako: Mali
Nouakchott: Mauritania; Port Louis: Mauritius; Rabat: Morocco; Maputo: Mozambique; Windhoek: Namibia; Niamey: Niger
Abuja: Nigeria; Kigali: Rwanda; São Tomé: São Tomé and Príncipe; Dakar: Senegal; Victoria: the Seychelles
Freetown: Sierra Leone; Mogadishu: Somalia; Pretoria: South Africa; Juba: South Sudan; Khartoum: Sudan; Dodoma: Tanzania
Lomé: Togo; Tunis: Tunisia; Kampala: Uganda; Lusaka: Zambia; Harare: Zimbabwe

St. John's: Antigua and Barbuda; Buenos Aires: Argentina; Nassau: the Bahamas; Bridgetown: Barbados; Belmopan: Belize
Sucre: Bolivia; Brasília: Brazil; Ottawa: Canada; Santiago: Chile; Bogotá: Colombia; San José: Costa Rica; Havana: Cuba
Roseau: Dominica; Santo Domingo: the Dominican Republic; Quito: Ecuador; San Salvador: El Salvador
St. George's: Grenada; Guatemala City: Guatemala; Georgetown: Guyana; Port-au-Prince: Haiti; Tegucigalpa: Honduras
Kingston: Jamaica; Mexico City: Mexico; Managua: Nicaragua; Panama City: Panama; Asunción: Paraguay; Lima: Peru
Basseterre: Saint Kitts and Nevis; Castries: Saint Lucia; Kingstown: Saint Vincent and the Grenadines
Paramaribo: Suriname; Port of Spain: Trinidad and Tobago; Washington: the United States; Montevideo: Uruguay
Caracas: Venezuela

Kabul: Afghanistan; Yerevan: Armenia; Baku: Azerbaijan; Manama: Bahrain; Dhaka: Bangladesh; Thimphu: Bhutan
Bandar Seri Begawan: Brunei; Phnom Penh: Cambodia; Beijing: China; Nicosia: Cyprus; Dili: East Timor; Tbilisi: Georgia
New Delhi: India; Jakarta: Indonesia; Tehran: Iran; Baghdad: Iraq; Jerusalem: Israel; Tokyo: Japan; Amman: Jordan
Astana: Kazakhstan; Kuwait City: Kuwait; Bishkek: Kyrgyzstan; Vientiane: Laos; Beirut: Lebanon; Kuala Lumpur: Malaysia
Malé: the Maldives; Ulaanbaatar: Mongolia; Naypyidaw: Myanmar; Kathmandu: Nepal; Pyongyang: North Korea; Muscat: Oman
Islamabad: Pakistan; Ramallah: Palestine; Manila: the Philippines; Doha: Qatar; Riyadh: Saudi Arabia
Singapore: Singapore; Seoul: South Korea; Colombo: Sri Lanka; Damascus: Syria; Dushanbe: Tajikistan; Bangkok: Thailand
Ankara: Turkey; Ashgabat: Turkmenistan; Abu Dhabi: the United Arab Emirates; Tashkent: Uzbekistan; Hanoi: Vietnam
Sanaa: Yemen

Tirana: Albania; Andorra la Vella: Andorra; Vienna: Austria; Minsk: Belarus; Brussels: Belgium
Sarajevo: Bosnia and Herzegovina; Sofia: Bulgaria; Zagreb: Croatia; Prague: the Czech Republic; Copenhagen: Denmark
Tallinn: Estonia; Helsinki: Finland; Paris: France; Berlin: Germany; Athens: Greece; Budapest: Hungary
Reykjavik: Iceland; Dublin: Ireland; Rome: Italy; Riga: Latvia; Vaduz: Liechtenstein; Vilnius: Lithuania
Luxembourg: Luxembourg; Valletta: Malta; Chișinău: Moldova; Monaco: Monaco; Podgorica: Montenegro
Amsterdam: the Netherlands; Skopje: North Macedonia; Oslo: Norway; Warsaw: Poland; Lisbon: Portugal; Bucharest: Romania
Moscow: Russia; San Marino: San Marino; Belgrade: Serbia; Bratislava: Slovakia; Ljubljana: Slovenia; Madrid: Spain
Stockholm: Sweden; Bern: Switzerland; Kyiv: Ukraine; London: the United Kingdom; Vatican City: Vatican City

Canberra: Australia; Suva: Fiji; South Tarawa: Kiribati; Majuro: the Marshall Islands; Palikir: Micronesia; Yaren: Nauru
Wellington: New Zealand; Ngerulmud: Palau; Port Moresby: Papua New Guinea; Apia: Samoa; Honiara: the Solomon Islands
Nuku'alofa: Tonga; Funafuti: Tuvalu; Port Vila: Vanuatu
"""


def capitals() -> list[tuple[str, str]]:
    """(capital, country) for all 195 states, in the table's order."""
    entries = (entry for line in _TABLE.split("\n") for entry in line.split(";") if entry.strip())
    pairs = (entry.split(":") for entry in entries)
    return [(capital.strip(), country.strip()) for capital, country in pairs]
