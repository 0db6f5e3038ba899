"""Words of the demo model's small languages: what the corpus generators put into their templates.

Only data, written for this project; no external text. Chinese entries stand beside their English
ones because translation needs both. `COMMON_HANZI` is fed to the tokenizer alone, so that
everyday characters outside the templates are single tokens too.
"""

# (English country, English capital, Chinese country, Chinese capital)
CAPITALS: tuple[tuple[str, str, str, str], ...] = (
    ("France", "Paris", "法国", "巴黎"),
    ("Germany", "Berlin", "德国", "柏林"),
    ("Italy", "Rome", "意大利", "罗马"),
    ("Spain", "Madrid", "西班牙", "马德里"),
    ("Portugal", "Lisbon", "葡萄牙", "里斯本"),
    ("England", "London", "英国", "伦敦"),
    ("Ireland", "Dublin", "爱尔兰", "都柏林"),
    ("China", "Beijing", "中国", "北京"),
    ("Japan", "Tokyo", "日本", "东京"),
    ("South Korea", "Seoul", "韩国", "首尔"),
    ("India", "New Delhi", "印度", "新德里"),
    ("Russia", "Moscow", "俄罗斯", "莫斯科"),
    ("Egypt", "Cairo", "埃及", "开罗"),
    ("Kenya", "Nairobi", "肯尼亚", "内罗毕"),
    ("Canada", "Ottawa", "加拿大", "渥太华"),
    ("Mexico", "Mexico City", "墨西哥", "墨西哥城"),
    ("Brazil", "Brasilia", "巴西", "巴西利亚"),
    ("Argentina", "Buenos Aires", "阿根廷", "布宜诺斯艾利斯"),
    ("Chile", "Santiago", "智利", "圣地亚哥"),
    ("Peru", "Lima", "秘鲁", "利马"),
    ("Cuba", "Havana", "古巴", "哈瓦那"),
    ("Australia", "Canberra", "澳大利亚", "堪培拉"),
    ("New Zealand", "Wellington", "新西兰", "惠灵顿"),
    ("Greece", "Athens", "希腊", "雅典"),
    ("Turkey", "Ankara", "土耳其", "安卡拉"),
    ("Poland", "Warsaw", "波兰", "华沙"),
    ("Austria", "Vienna", "奥地利", "维也纳"),
    ("Hungary", "Budapest", "匈牙利", "布达佩斯"),
    ("Sweden", "Stockholm", "瑞典", "斯德哥尔摩"),
    ("Norway", "Oslo", "挪威", "奥斯陆"),
    ("Finland", "Helsinki", "芬兰", "赫尔辛基"),
    ("Denmark", "Copenhagen", "丹麦", "哥本哈根"),
    ("Belgium", "Brussels", "比利时", "布鲁塞尔"),
    ("Switzerland", "Bern", "瑞士", "伯尔尼"),
    ("Thailand", "Bangkok", "泰国", "曼谷"),
    ("Vietnam", "Hanoi", "越南", "河内"),
    ("Indonesia", "Jakarta", "印度尼西亚", "雅加达"),
    ("Ukraine", "Kyiv", "乌克兰", "基辅"),
    ("Iran", "Tehran", "伊朗", "德黑兰"),
    ("the United States", "Washington", "美国", "华盛顿"),
)

BOYS = (
    "Tom", "Ben", "Sam", "Max", "Leo", "Jack", "Paul", "Dan", "Tim", "Adam",
    "Noah", "Luke", "Hugo", "Oscar", "Peter", "David",
)  # fmt: skip
GIRLS = (
    "Mia", "Anna", "Lily", "Lucy", "Emma", "Sara", "Nina", "Kate", "Rose", "Ella",
    "Zoe", "Ivy", "Julia", "Alice", "Mary", "Eva",
)  # fmt: skip
NAMES = BOYS + GIRLS
ZH_BOYS = ("小明", "小强", "小刚", "小军", "小龙", "小东", "大伟", "小亮", "小林", "小海")
ZH_GIRLS = ("小红", "小丽", "小美", "小芳", "小兰", "小雪", "小梅", "小云", "小花", "小月")
ZH_NAMES = ZH_BOYS + ZH_GIRLS

# colour -> Chinese
COLOURS = {
    "red": "红色", "blue": "蓝色", "green": "绿色", "yellow": "黄色", "white": "白色",
    "black": "黑色", "brown": "棕色", "pink": "粉色",
}  # fmt: skip

# (singular, plural, Chinese, measure word): things one can see, buy, like and have
NOUNS: tuple[tuple[str, str, str, str], ...] = (
    ("apple", "apples", "苹果", "个"),
    ("ball", "balls", "球", "个"),
    ("book", "books", "书", "本"),
    ("cup", "cups", "杯子", "个"),
    ("hat", "hats", "帽子", "顶"),
    ("bag", "bags", "包", "个"),
    ("car", "cars", "车", "辆"),
    ("bike", "bikes", "自行车", "辆"),
    ("flower", "flowers", "花", "朵"),
    ("cat", "cats", "猫", "只"),
    ("dog", "dogs", "狗", "只"),
    ("bird", "birds", "鸟", "只"),
    ("fish", "fish", "鱼", "条"),
    ("horse", "horses", "马", "匹"),
    ("chair", "chairs", "椅子", "把"),
    ("table", "tables", "桌子", "张"),
    ("pen", "pens", "钢笔", "支"),
    ("shirt", "shirts", "衬衫", "件"),
    ("cake", "cakes", "蛋糕", "个"),
    ("egg", "eggs", "鸡蛋", "个"),
)

# (base, third person, Chinese)
VERBS: tuple[tuple[str, str, str], ...] = (
    ("like", "likes", "喜欢"),
    ("see", "sees", "看见"),
    ("buy", "buys", "买"),
    ("have", "has", "有"),
    ("want", "wants", "想要"),
    ("draw", "draws", "画"),
    ("need", "needs", "需要"),
    ("find", "finds", "找到"),
)

# (English, third person?, Chinese, form of "be", English possessive, Chinese possessive)
SUBJECTS: tuple[tuple[str, bool, str, str, str, str], ...] = (
    ("I", False, "我", "am", "my", "我的"),
    ("You", False, "你", "are", "your", "你的"),
    ("We", False, "我们", "are", "our", "我们的"),
    ("They", False, "他们", "are", "their", "他们的"),
    ("He", True, "他", "is", "his", "他的"),
    ("She", True, "她", "is", "her", "她的"),
    ("My mother", True, "我的妈妈", "is", "my mother's", "我妈妈的"),
    ("My father", True, "我的爸爸", "is", "my father's", "我爸爸的"),
    ("My friend", True, "我的朋友", "is", "my friend's", "我朋友的"),
    ("The teacher", True, "老师", "is", "the teacher's", "老师的"),
    ("The doctor", True, "医生", "is", "the doctor's", "医生的"),
)

# English place phrase with its preposition -> Chinese
PLACES: tuple[tuple[str, str], ...] = (
    ("at school", "学校"),
    ("at home", "家"),
    ("in the park", "公园"),
    ("in the garden", "花园"),
    ("in the kitchen", "厨房"),
    ("in the library", "图书馆"),
    ("in the shop", "商店"),
    ("in the city", "城市"),
    ("at the station", "车站"),
    ("on the farm", "农场"),
)

ADJECTIVES = {
    "happy": "高兴", "sad": "难过", "tired": "累", "hungry": "饿", "busy": "忙", "tall": "高",
    "young": "年轻", "cold": "冷",
}  # fmt: skip
NUMBERS = {
    "a": "一", "two": "两", "three": "三", "four": "四", "five": "五", "six": "六",
    "seven": "七", "eight": "八", "nine": "九", "ten": "十",
}  # fmt: skip

# thing -> its usual colour, English and Chinese
USUAL_COLOUR = {
    "grass": "green", "sky": "blue", "sun": "yellow", "snow": "white", "apple": "red",
    "banana": "yellow", "sea": "blue", "milk": "white", "coal": "black", "night": "black",
    "leaf": "green", "rose": "red", "frog": "green", "lemon": "yellow", "cloud": "white",
    "bear": "brown", "pig": "pink", "tomato": "red",
}  # fmt: skip
ZH_USUAL_COLOUR = {
    "草": "绿色", "天空": "蓝色", "太阳": "黄色", "雪": "白色", "苹果": "红色", "香蕉": "黄色",
    "大海": "蓝色", "牛奶": "白色", "煤": "黑色", "夜晚": "黑色", "树叶": "绿色", "玫瑰": "红色",
    "青蛙": "绿色", "柠檬": "黄色", "云": "白色", "熊": "棕色", "小猪": "粉色", "西红柿": "红色",
}  # fmt: skip

# fed to the tokenizer so that everyday characters outside the templates stay single tokens
COMMON_HANZI = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成"
    "方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工"
    "使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表"
    "化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结"
    "反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难"
    "且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运笔早晚饭吃喝睡茶米"
    "请谢您吗呢吧啊哪谁怎"
)
